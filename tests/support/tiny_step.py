"""A pretraining run whose step compiles in seconds."""

from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.models.bert.config import BertConfig

TINY = PretrainConfig(
    model=BertConfig(
        vocab_size=256,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    ),
    data=PretrainDataConfig(max_seq_length=32, max_predictions_per_seq=5),
    optimizer=OptimizerConfig(warmup_steps=10),
    train=TrainConfig(steps=100, global_batch_size=16),
)
