"""BERT-tiny (2 layers, width 128) on a small corpus.

python -m bert_tf.pretrain --config configs/pretrain_tiny.py --workdir runs/tiny --set data.train=shards

Hardware: 2 CPU cores, 3 to 5 minutes for 1,000 steps. Expected: the held-out masked-LM loss falls from 9.0 to 5.6 on
the text of make quickstart.
"""

from bert_tf.core.config import OptimizerConfig, PretrainConfig, TrainConfig
from bert_tf.models.bert.config import preset


def get_config() -> PretrainConfig:
    return PretrainConfig(
        model=preset("tiny"),
        # At 1e-3 some seeds never leave the word frequencies: every position ends up with the same representation.
        optimizer=OptimizerConfig(learning_rate=5e-4, warmup_steps=100),
        train=TrainConfig(
            steps=1000,
            global_batch_size=32,
            steps_per_loop=25,
            log_every=50,
            evaluate_every=500,
            checkpoint_every=200,
        ),
    )
