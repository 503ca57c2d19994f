"""Multiple choice: which of four word orders is that of a docstring's second sentence.

python -m quickstart.tasks --output runs/tasks
python -m bert_tf.finetune --config configs/offline_multiple_choice.py --workdir runs/multiple_choice

The data is made from text on this machine. The run starts from the model that make quickstart pretrained; --set
init_from=DIR starts from another checkpoint.

Hardware: 2 CPU cores. Expected: with two layers of all-MiniLM-L6-v2, 1,200 examples of four packages and 150 steps
(tests/runs/test_tasks_learn.py) an accuracy of 0.95, and 0.92 after 75 steps; chance gives 0.25.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.multiple_choice import ChoiceDataConfig, MultipleChoiceConfig


def get_config() -> MultipleChoiceConfig:
    return MultipleChoiceConfig(
        data=ChoiceDataConfig(
            train="runs/tasks/multiple_choice-train.jsonl",
            validation="runs/tasks/multiple_choice-validation.jsonl",
            max_seq_length=64,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-4),
        train=TrainConfig(global_batch_size=16, steps_per_loop=20, log_every=20),
        epochs=3.0,
        init_from="runs/quickstart/pretrain/model",
    )
