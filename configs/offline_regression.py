"""Regression: how much of a paragraph is code, from 0 to 5.

python -m quickstart.tasks --output runs/tasks
python -m bert_tf.finetune --config configs/offline_regression.py --workdir runs/regression

The data is made from text on this machine. The run starts from the model that make quickstart pretrained; --set
init_from=DIR starts from another checkpoint.

Hardware: 2 CPU cores. Expected: with two layers of all-MiniLM-L6-v2, 1,200 examples of four packages and 75 steps
(tests/runs/test_tasks_learn.py) a Spearman correlation of 0.65.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.regression import RegressionConfig
from bert_tf.tasks.shared.sections import TextDataConfig


def get_config() -> RegressionConfig:
    return RegressionConfig(
        data=TextDataConfig(
            train="runs/tasks/regression-train.jsonl",
            validation="runs/tasks/regression-validation.jsonl",
            max_seq_length=64,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-4),
        train=TrainConfig(global_batch_size=16, steps_per_loop=20, log_every=20),
        epochs=3.0,
        init_from="runs/quickstart/pretrain/model",
    )
