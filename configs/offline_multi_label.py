"""Multi-label classification: which sections a docstring has.

python -m quickstart.tasks --output runs/tasks
python -m bert_tf.finetune --config configs/offline_multi_label.py --workdir runs/multi_label

The data is made from text on this machine. The run starts from the model that make quickstart pretrained; --set
init_from=DIR starts from another checkpoint.

Hardware: 2 CPU cores. Expected: with two layers of all-MiniLM-L6-v2, 1,200 examples of four packages and 75 steps
(tests/runs/test_tasks_learn.py) a micro F1 of 0.79; the most frequent section alone gives 0.57.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.multi_label import MultiLabelConfig, MultiLabelDataConfig


def get_config() -> MultiLabelConfig:
    return MultiLabelConfig(
        data=MultiLabelDataConfig(
            train="runs/tasks/multi_label-train.jsonl",
            validation="runs/tasks/multi_label-validation.jsonl",
            max_seq_length=64,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-4),
        train=TrainConfig(global_batch_size=16, steps_per_loop=20, log_every=20),
        epochs=3.0,
        init_from="runs/quickstart/pretrain/model",
    )
