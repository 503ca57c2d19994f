"""BERT-base, first phase: 900,000 steps at length 128 (Devlin et al. 2018, A.2). pretrain_base_512.py is the second.

python -m bert_tf.pretrain --config configs/pretrain_base_128.py --workdir runs/base-128 --set data.train=shards-128

Hardware: v5e-8, four GPUs of 40 GB, or several workers by TF_CONFIG; python -m bert_tf.preflight reports the memory on
a TPU core. Shards: --max_seq_length 128 --max_predictions_per_seq 20 --dupe_factor 10, 30,522 words. Expected: a
held-out masked-LM loss near 1.7 after this phase, and 1.4 after the second (from published runs; not run here).
"""

from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.models.bert.config import preset


def get_config() -> PretrainConfig:
    return PretrainConfig(
        model=preset("base"),
        data=PretrainDataConfig(readers=8),
        optimizer=OptimizerConfig(learning_rate=1e-4, warmup_steps=10_000),
        train=TrainConfig(steps=900_000, global_batch_size=256, precision="mixed_bfloat16"),
    )
