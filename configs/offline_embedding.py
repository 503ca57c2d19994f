"""Sentence embeddings: find the rest of a docstring by its first sentence.

python -m quickstart.tasks --output runs/tasks
python -m bert_tf.finetune --config configs/offline_embedding.py --workdir runs/embedding

The data is made from text on this machine. The run starts from the model that make quickstart pretrained; --set
init_from=DIR starts from another checkpoint.

Hardware: 2 CPU cores. Expected: with two layers of all-MiniLM-L6-v2, 1,200 examples of four packages and 75 steps
(tests/runs/test_tasks_learn.py) a recall at 1 among 200 of 0.35; it is 0.13 before training.
"""

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.embedding import EmbeddingConfig
from bert_tf.tasks.shared.sections import TextDataConfig


def get_config() -> EmbeddingConfig:
    return EmbeddingConfig(
        data=TextDataConfig(
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
