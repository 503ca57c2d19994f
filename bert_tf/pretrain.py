"""Pretrains a BERT on shards.

python -m bert_tf.pretrain --config configs/pretrain_tiny.py --workdir runs/tiny --set data.train=shards

A run that was stopped in any way is taken up again by the same command. The result is WORKDIR/model, a model directory
in the Hugging Face layout.
"""

import dataclasses
import functools
import os

from absl import flags

from bert_tf.core import command, config_io, records
from bert_tf.core.config import BertConfig, PretrainConfig
from bert_tf.core.errors import InputError


def run(config: PretrainConfig, workdir: str) -> dict[str, float]:
    """Trains to the last step and writes workdir/model. Returns the last evaluation, {} without validation."""
    from bert_tf.interop import huggingface
    from bert_tf.interop.source import open_source
    from bert_tf.objectives.masked_lm import BertForPreTraining
    from bert_tf.text.tokenizer_config import TokenizerConfig
    from bert_tf.text.vocabulary import Vocabulary
    from bert_tf.training.data import shard_folder, shard_input
    from bert_tf.training.data.batches import Batches
    from bert_tf.training.engines import strategy
    from bert_tf.training.trainer import Trainer
    from bert_tf.training.workdir import lock as workdir_lock
    from bert_tf.training.workdir.mirror import Mirror

    data, train = config.data, config.train
    worker = strategy.this_worker(train.strategy)
    # Others wait in create until the chief has what lies there.
    mirror = Mirror(workdir, train.mirror if worker.is_chief else "")
    config_io.check_settled(config, workdir)
    huggingface.check_output(os.path.join(workdir, "model"), "--workdir")
    mirror.fetch(config)
    distribution = strategy.create(train.strategy)
    folders = {"data.train": shard_folder.ShardFolder.open(data.train, "data.train")}
    if data.validation is not None:
        folders["data.validation"] = shard_folder.ShardFolder.open(data.validation, "data.validation")
    training = folders["data.train"]
    field, validation = list(folders.items())[-1]
    layout = records.RecordLayout(
        max_seq_length=data.max_seq_length, max_predictions_per_seq=data.max_predictions_per_seq
    )
    expected = [(training.vocabulary, f"data.train={data.train}")]
    if data.vocab is not None:
        expected.append((Vocabulary.load(data.vocab), f"data.vocab={data.vocab}"))
    if config.init_from is not None:
        source = open_source(config.init_from, "init_from")
        expected.append((source.vocabulary, f"init_from={config.init_from}"))
        _check_network(config, source.config)
    for name, folder in folders.items():
        shard_folder.check(folder, name, layout=layout, vocab_size=config.model.vocab_size)
        for vocabulary, whose in expected:
            shard_folder.check_vocabulary(folder, name, vocabulary, whose)
        if config.init_from is not None:
            shard_folder.check_tokenizer(folder, name, source.tokenizer, f"init_from={config.init_from}")
    if training.layout.has_pairs and config.model.type_vocab_size < 2:
        raise InputError(
            f"model.type_vocab_size={config.model.type_vocab_size}: expected at least 2, since the shards of "
            f"data.train={data.train} hold pairs."
        )
    # Checked before anything is kept in the workdir.
    shard_input.readers_of(worker, data.readers)
    order = shard_input.Order(
        training, global_batch_size=train.global_batch_size, seed=train.seed, readers=data.readers
    )

    def model_fn():
        model = BertForPreTraining(config.model, dtype=train.precision)
        model.build()
        if config.init_from is not None:
            print(f"init_from={config.init_from}: {source.load_weights(model)}", flush=True)
        return model

    trainer = Trainer(
        model_fn,
        train=train,
        optimizer_config=config.optimizer,
        strategy=distribution,
        workdir=workdir,
        worker=worker,
        on_checkpoint=mirror.try_push,
    )
    validation_batches = None
    if data.validation is not None or validation.split("validation"):
        validation_batches = shard_input.validation_of(config, validation, field)

    def paths(first: int, count: int) -> list[str]:
        return order.paths_of(first, count, range(data.readers))

    # Kept once nothing is left that could refuse the run, so that a corrected command meets an empty workdir.
    with workdir_lock.held(workdir, worker.is_chief):
        if worker.is_chief:
            config_io.settle(config, workdir)
            shard_folder.settle(training, workdir)
        metrics = trainer.fit(
            Batches(
                training=functools.partial(
                    shard_input.training_batches,
                    training,
                    global_batch_size=train.global_batch_size,
                    seed=train.seed,
                    readers=data.readers,
                    masking=shard_input.masking_of(config, training),
                ),
                validation=validation_batches,
                sources=lambda first, count: ", ".join(paths(first, count)),
                damage=lambda first, count: shard_folder.find_damage(training, paths(first, count)),
                validation_damage=lambda: shard_folder.find_damage(validation, validation.paths("validation")),
            )
        )
        if not worker.is_chief:
            return metrics
        huggingface.save(
            os.path.join(workdir, "model"),
            trainer.model,
            architecture="BertForPreTraining",
            vocabulary=training.vocabulary,
            tokenizer=TokenizerConfig(lower_case=training.lower_case),
            max_seq_length=data.max_seq_length,
        )
        mirror.push()
    return metrics


def _check_network(config: PretrainConfig, theirs: BertConfig) -> None:
    """Refuses an init_from of another network; dropout and initialization may differ."""
    free = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")
    for name, value in dataclasses.asdict(config.model).items():
        if name not in free and value != getattr(theirs, name):
            raise InputError(
                f"init_from={config.init_from}: expected model.{name}={value}. "
                f"Received a model with {getattr(theirs, name)}."
            )


def main(_) -> None:
    config = config_io.load(flags.FLAGS.config, flags.FLAGS.set, PretrainConfig)
    metrics = run(config, flags.FLAGS.workdir)
    told = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    print(f"Model in {os.path.join(flags.FLAGS.workdir, 'model')}" + (f"; validation: {told}" if told else ""))


if __name__ == "__main__":
    command.define_config_flags()
    command.run(main, resumable=True)
