"""Runs this project's trainer, as bert_tf.pretrain does, on one repeated batch."""

import numpy as np

from benchmarks.peers import timing


def fit(batch: dict[str, np.ndarray], workdir: str, *, precision: str, **train) -> None:
    """Trains, and writes metrics and profiles to the workdir.

    Args:
      batch: of each step.
      workdir: an empty folder.
      precision: float32 or bfloat16.
      **train: fields of TrainConfig.
    """
    import tensorflow as tf

    from bert_tf.core.config import OptimizerConfig, TrainConfig
    from bert_tf.core.records import RecordLayout
    from bert_tf.models.bert.config import BertConfig
    from bert_tf.objectives.masked_lm import MaskedLM
    from bert_tf.training.data.batches import Batches
    from bert_tf.training.engines.engine import Training, engine_named
    from bert_tf.training.trainer import Trainer

    config = TrainConfig(
        global_batch_size=len(batch["input_word_ids"]),
        strategy="single",
        precision="float32" if precision == "float32" else "mixed_bfloat16",
        checkpoint_every=1000,
        evaluate_every=1000,
        **train,
    )

    length, predictions = (batch[name].shape[1] for name in ("input_word_ids", "masked_lm_ids"))
    objective = MaskedLM(RecordLayout(max_seq_length=length, max_predictions_per_seq=predictions))
    engine = engine_named(config.engine)(config)
    engine.start()
    trainer = Trainer(
        engine,
        lambda: objective.make_model(BertConfig(**timing.SIZES), config.precision),
        objective,
        train=config,
        training=Training(OptimizerConfig(learning_rate=timing.LEARNING_RATE, warmup_steps=0)),
        workdir=workdir,
    )
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    trainer.fit(
        Batches(training=lambda first, worker: dataset, validation=None, sources=lambda first, count: "the batch")
    )
