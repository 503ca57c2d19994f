"""BERT-base trained as RoBERTa (Liu et al. 2019): full sentences, no pairs, new masks in every epoch.

python -m pipelines.create_pretraining_data --input 'text/*' --vocab vocab.txt --output_dir shards-roberta \
    --max_seq_length 512 --pairs=none --masking=none
python -m bert_tf.pretrain --config configs/pretrain_roberta_base.py --workdir runs/roberta \
    --set data.train=shards-roberta

Hardware: one TPU host with eight chips and train.microbatches, or GPU workers by TF_CONFIG. Two things remain as in
BERT: WordPiece, and segment embeddings (all zero). Expected: a validation perplexity near
3.8 after 31,000 steps of 8,000 examples (from the paper's table 3, with the paper's own vocabulary; not run here).
"""

from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.models.bert.config import preset


def get_config() -> PretrainConfig:
    return PretrainConfig(
        model=preset("base"),
        data=PretrainDataConfig(max_seq_length=512, max_predictions_per_seq=80, readers=16),
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            warmup_steps=1_800,
            beta_2=0.98,
            weight_decay=0.01,
            clip_norm=None,
            bias_correction=True,
        ),
        train=TrainConfig(
            steps=31_000,
            global_batch_size=8_192,
            microbatches=8,
            precision="mixed_bfloat16",
            evaluate_every=1_000,
            evaluate_examples=16_384,
            checkpoint_every=500,
        ),
    )
