"""Classification of pairs: whether the first two sentences of a docstring are in their original order.

python -m quickstart.tasks --output runs/tasks
python -m bert_tf.finetune --config configs/offline_pair_classification.py --workdir runs/pair_classification

The data is made from text on this machine. The run starts from the model that make quickstart pretrained; --set
init_from=DIR starts from another checkpoint.

Hardware: 2 CPU cores. Expected: an accuracy of 0.88 with two layers of all-MiniLM-L6-v2 and 75 steps; chance
gives 0.50.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.classification import ClassificationConfig
from bert_tf.tasks.shared.sections import ClassDataConfig


def get_config() -> ClassificationConfig:
    return ClassificationConfig(
        data=ClassDataConfig(
            train="runs/tasks/pair_classification-train.jsonl",
            validation="runs/tasks/pair_classification-validation.jsonl",
            max_seq_length=64,
            second_text_field="second_text",
        ),
        optimizer=OptimizerConfig(learning_rate=1e-4),
        train=TrainConfig(global_batch_size=16, steps_per_loop=20, log_every=20),
        epochs=3.0,
        init_from="runs/quickstart/pretrain/model",
    )
