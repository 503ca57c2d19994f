"""Vectors by which a docstring's first sentence finds the rest of it.

python -m quickstart.tasks --output runs/tasks
python -m bert_tf.finetune --config configs/offline_embedding.py --workdir runs/embedding

Data made from the text on this machine; starts from what make quickstart has pretrained, or from any checkpoint by
--set init_from=DIR.

Hardware: 2 CPU cores. Expected: not measured.
"""

from bert_tf.config import OptimizerConfig, TrainConfig
from bert_tf.config_finetune import FinetuneConfig, FinetuneDataConfig


def get_config() -> FinetuneConfig:
    return FinetuneConfig(
        task="embedding",
        data=FinetuneDataConfig(
            train="runs/tasks/embedding-train.jsonl",
            validation="runs/tasks/embedding-validation.jsonl",
            max_seq_length=64,
            second_text_field="second_text",
        ),
        optimizer=OptimizerConfig(learning_rate=1e-4),
        train=TrainConfig(global_batch_size=16, steps_per_loop=20, log_every=20),
        epochs=3.0,
        init_from="runs/quickstart/pretrain/model",
    )
