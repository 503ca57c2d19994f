"""Classification: which of ten packages wrote a docstring.

python -m quickstart.tasks --output runs/tasks
python -m bert_tf.finetune --config configs/offline_classification.py --workdir runs/classification

The data is made from text on this machine. The run starts from the model that make quickstart pretrained; --set
init_from=DIR starts from another checkpoint.

Hardware: 2 CPU cores. Expected: with two layers of all-MiniLM-L6-v2, 1,200 examples of four packages and 75 steps
(tests/runs/test_tasks_learn.py) an accuracy of 0.59; the most frequent package alone gives 0.25.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.classification import ClassificationConfig
from bert_tf.tasks.shared.sections import ClassDataConfig


def get_config() -> ClassificationConfig:
    return ClassificationConfig(
        data=ClassDataConfig(
            train="runs/tasks/classification-train.jsonl",
            validation="runs/tasks/classification-validation.jsonl",
            max_seq_length=64,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-4),
        train=TrainConfig(global_batch_size=16, steps_per_loop=20, log_every=20),
        epochs=3.0,
        init_from="runs/quickstart/pretrain/model",
    )
