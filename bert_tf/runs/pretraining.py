"""One pretraining run: shards, model, training, the model directory. bert_tf.pretrain is its command."""

import dataclasses
import functools
import itertools
import os

import keras

from bert_tf.core import config_io
from bert_tf.core.config import EncoderConfig, PretrainConfig
from bert_tf.core.data_order import Mixture, split_digest
from bert_tf.core.errors import InputError
from bert_tf.interop import huggingface
from bert_tf.interop.source import Source, open_source
from bert_tf.objectives.objective import objective_named
from bert_tf.runs import model_card
from bert_tf.runs.run import Run
from bert_tf.text.vocabulary import Vocabulary
from bert_tf.training.data import shard_folder, shard_input
from bert_tf.training.data.batches import Batches
from bert_tf.training.data.shard_folder import ShardFolder
from bert_tf.training.engines.engine import Training

# Of a network, what may differ from that of init_from.
_FREE = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")


def run(config: PretrainConfig, workdir: str) -> dict[str, float]:
    """Trains to the last step and writes workdir/model. Returns the last evaluation, {} without validation.

    Raises:
      InputError: whatever does not fit; Preempted, StorageError: see Trainer.fit.
    """
    this = Run(config, workdir)
    folders = open_folders(config)
    training = folders["data.train"]
    validation_field, validation_folders = list(folders.items())[-1]
    config = shard_folder.settled(config_io.as_begun(config, workdir), training[0])
    source = None if config.init_from is None else open_source(config.init_from, "init_from")
    _check_folders(config, folders, source)
    vocabulary = training[0].vocabulary
    rows_sha256 = split_digest([folder.split("train") for folder in training])
    this.check_identity("shards.json", {"sha256": rows_sha256, "vocabulary_sha256": vocabulary.sha256})
    shard_input.readers_of(this.engine.worker, config.data.readers)
    batch_size, seed, readers = config.train.global_batch_size, config.train.seed, config.data.readers
    mixture = shard_input.mixture_of(
        training, global_batch_size=batch_size, seed=seed, weights=config.data.weights, readers=readers
    )
    objective = objective_named(config.objective, shard_folder.layout_of(config, training[0].layout))

    def make_model() -> keras.Model:
        model = objective.make_model(config.model, config.train.precision)
        if source is not None:
            print(f"init_from={config.init_from}: {source.load_weights(model)}", flush=True)
        return model

    trainer = this.trainer(config, make_model, objective, training=Training(config.optimizer))
    validation = None
    if config.data.validation is not None or any(folder.split("validation") for folder in validation_folders):
        validation = shard_input.validation_of(config, validation_folders, validation_field)
    if this.is_chief:
        print(_described(mixture, config), flush=True)

    def paths(first: int, count: int) -> list[list[str]]:
        return mixture.paths_of(first, count, range(readers))

    batches = Batches(
        training=functools.partial(
            shard_input.training_batches,
            training,
            global_batch_size=batch_size,
            seed=seed,
            weights=config.data.weights,
            readers=readers,
            masking=shard_input.masking_of(config, training[0]),
        ),
        validation=validation,
        sources=lambda first, count: ", ".join(itertools.chain(*paths(first, count))),
        damage=lambda first, count: shard_folder.damage_in(training, paths(first, count)),
        validation_damage=lambda: shard_folder.validation_damage(validation_folders),
        progress=lambda batches: _epochs(mixture, batches),
    )
    with this.trained(config, trainer, batches) as metrics:
        if this.is_chief:
            for folder, model in objective.saved(trainer.model).items():
                huggingface.save(
                    os.path.join(workdir, folder),
                    model,
                    vocabulary=vocabulary,
                    tokenizer=training[0].settings,
                    max_seq_length=training[0].layout.max_seq_length,
                )
            model_card.write(workdir, metrics)
    return metrics


def open_folders(config: PretrainConfig) -> dict[str, list[ShardFolder]]:
    """{config field: folders of shards, which fit one another}, that of the validation data last."""
    folders = {"data.train": [ShardFolder.open(path, "data.train") for path in config.data.train_folders or ("",)]}
    shard_folder.check_alike(folders["data.train"], "data.train")
    if config.data.validation is not None:
        folders["data.validation"] = [ShardFolder.open(config.data.validation, "data.validation")]
    return folders


def _epochs(mixture: Mixture, batches: int) -> dict[str, float]:
    """Passes over the rows of each source after some batches, as metrics."""
    found = mixture.epochs(batches)
    return {f"epochs/{name}" if len(found) > 1 else "epochs": value for name, value in found.items()}


def _described(mixture: Mixture, config: PretrainConfig) -> str:
    """The sources, with the epochs of each at the run's last step."""
    at_end = mixture.epochs(config.train.steps)
    lines = [
        f"data.train: {name}: {order.examples:,} examples, {weight:.2%} of each batch, "
        f"{at_end[name]:.3g} epochs in {config.train.steps:,} steps"
        for name, order, weight in zip(mixture.names, mixture.orders, mixture.weights, strict=True)
    ]
    return "\n".join(lines)


def _check_folders(config: PretrainConfig, folders: dict[str, list[ShardFolder]], source: Source | None) -> None:
    """Refuses shards that do not fit the model, the vocabulary that the config names, or one another."""
    training = folders["data.train"][0]
    expected = [(training.vocabulary, f"data.train={training.path}")]
    if config.data.vocab is not None:
        expected.append((Vocabulary.load(config.data.vocab), f"data.vocab={config.data.vocab}"))
    if source is not None:
        expected.append((source.vocabulary, f"init_from={config.init_from}"))
        _check_network(config, source.config)
    for field, folder in ((field, folder) for field, found in folders.items() for folder in found):
        shard_folder.check(folder, field, config)
        for vocabulary, whose in expected:
            shard_folder.check_vocabulary(folder, field, vocabulary, whose)
        if source is not None:
            shard_folder.check_tokenizer(folder, field, source.tokenizer, f"init_from={config.init_from}")
    if training.layout.has_pairs and config.model.type_vocab_size < 2:
        raise InputError(
            f"model.type_vocab_size={config.model.type_vocab_size}: expected at least 2, since the shards of "
            f"data.train={training.path} hold pairs."
        )


def _check_network(config: PretrainConfig, theirs: EncoderConfig) -> None:
    """Refuses an init_from of another network; dropout and initialization may differ."""
    received = dataclasses.asdict(theirs)
    for name, value in dataclasses.asdict(config.model).items():
        if name not in _FREE and value != received.get(name):
            raise InputError(
                f"init_from={config.init_from}: expected model.{name}={value}. "
                f"Received a model with {received.get(name)}."
            )
