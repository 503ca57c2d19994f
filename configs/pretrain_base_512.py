"""BERT-base, second phase: 100,000 steps at length 512, starting from the model of pretrain_base_128.py.

python -m bert_tf.pretrain --config configs/pretrain_base_512.py --workdir runs/base-512 \
    --set init_from=runs/base-128/model --set data.train=shards-512

Hardware: as for the first phase. Shards: --max_seq_length 512 --max_predictions_per_seq 76, the vocabulary of the
first phase. This phase is the first to train the position embeddings above 128. Expected: a held-out masked-LM loss
near 1.4 (from published runs; not run here).
"""

from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.models.bert.config import preset


def get_config() -> PretrainConfig:
    return PretrainConfig(
        model=preset("base"),
        data=PretrainDataConfig(max_seq_length=512, max_predictions_per_seq=76, readers=8),
        # The rate at which the first phase ends, were the two one run of a million steps.
        optimizer=OptimizerConfig(learning_rate=1e-5, warmup_steps=1_000),
        train=TrainConfig(
            steps=100_000,
            global_batch_size=256,
            precision="mixed_bfloat16",
            microbatches=2,
        ),
        init_from="runs/base-128/model",
    )
