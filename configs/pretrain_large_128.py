"""BERT-large with LAMB, first phase: 7,038 steps of 65,536 examples at length 128.

The batch sizes are those of You et al. 2020; learning rates, steps and decay are those of NVIDIA's recipe for them.

python -m bert_tf.pretrain --config configs/pretrain_large_128.py --workdir runs/large-128 --set data.train=shards-128

Hardware: one TPU host with eight chips and a large train.microbatches, which does not change the steps, or GPU workers
by TF_CONFIG. Several TPU hosts are not supported yet (docs/tpu.md). The second phase has 1,563 steps of 32,768 examples
at length 512. It uses the same config with --set init_from=runs/large-128/model --set
data.max_seq_length=512 --set data.max_predictions_per_seq=76 --set train.steps=1563 --set
train.global_batch_size=32768 --set optimizer.learning_rate=4e-3 --set optimizer.warmup_steps=200. Expected: a SQuAD 1.1
F1 of 90.6 after both phases (from the paper; not run here).
"""

from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.models.bert.config import preset


def get_config() -> PretrainConfig:
    return PretrainConfig(
        model=preset("large"),
        data=PretrainDataConfig(readers=64),
        optimizer=OptimizerConfig(
            name="lamb",
            learning_rate=6e-3,
            warmup_steps=2_000,
            decay_power=0.5,
            bias_correction=True,
        ),
        train=TrainConfig(
            steps=7_038,
            global_batch_size=65_536,
            microbatches=8,
            precision="mixed_bfloat16",
            steps_per_loop=10,
            log_every=10,
            evaluate_every=500,
            checkpoint_every=100,
        ),
    )
