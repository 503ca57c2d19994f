"""BERT-small (4 layers, width 512; Turc et al. 2019) at length 128.

python -m bert_tf.pretrain --config configs/pretrain_small_128.py --workdir runs/small --set data.train=shards

Hardware: one GPU of 16 GB, or a v5e-4. Shards: --max_seq_length 128 --max_predictions_per_seq 20, a vocabulary of
30,522, several GB of text. Expected: a masked-LM accuracy above 0.55 after the last step. The run was not done here; a
step was timed (benchmarks/train_step.py).
"""

from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.models.bert.config import preset


def get_config() -> PretrainConfig:
    return PretrainConfig(
        model=preset("small"),
        data=PretrainDataConfig(readers=4),
        optimizer=OptimizerConfig(learning_rate=5e-4, warmup_steps=10_000),
        train=TrainConfig(steps=250_000, global_batch_size=256, precision="mixed_bfloat16"),
    )
