"""A run's config -> what its training step is compiled from: the model, what it learns, and the shapes of a batch."""

import dataclasses
import os

import keras
import numpy as np

from bert_tf.core import records
from bert_tf.core.config import FinetuneConfig, PretrainConfig, TrainConfig
from bert_tf.interop.source import open_source
from bert_tf.models import tuning
from bert_tf.models.family import family_of
from bert_tf.objectives.objective import Objective, objective_named
from bert_tf.tasks.graph import TaskGraph, check_segments, task_model
from bert_tf.tasks.shared import loss_weights
from bert_tf.tasks.task import task_named
from bert_tf.text.tokenizer import tokenizer_kind
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_tf.training.data import shard_folder
from bert_tf.training.data.shard_folder import ShardFolder
from bert_tf.training.engines.engine import Training

_VOCAB_SIZE, _LENGTH = 30_522, 128  # where neither shards nor config say


@dataclasses.dataclass
class StepInputs:
    """What a step is made of.

    Attributes:
      model: built.
      objective: what it learns.
      features: {name: (shape of one example, dtype)}.
      train: the config's section.
      training: the optimizer.
      notes: what was assumed.
    """

    model: keras.Model
    objective: Objective
    features: dict[str, tuple[tuple[int, ...], np.dtype]]
    train: TrainConfig
    training: Training
    notes: list[str]


def of_config(config: PretrainConfig | FinetuneConfig, sequences_per_row: int = 0) -> StepInputs:
    """The step of a config.

    Args:
      config: of pretraining or fine-tuning.
      sequences_per_row: of packed pretraining shards; where data.train is a folder of shards, it says so itself.

    Raises:
      InputError: shards or a start that do not fit the config.
    """
    if isinstance(config, PretrainConfig):
        return _pretraining(config, sequences_per_row)
    return _finetuning(config)


def _pretraining(config: PretrainConfig, sequences_per_row: int) -> StepInputs:
    notes: list[str] = []
    first = next(iter(config.data.train_folders), "")
    if first and os.path.exists(os.path.join(first, records.MANIFEST)):
        folder = ShardFolder.open(first, "data.train")
        config = shard_folder.settled(config, folder)
        shard_folder.check(folder, "data.train", config)
        layout = shard_folder.layout_of(config, folder.layout)
    else:
        config = _assumed(config, notes)
        packed = f"packed, {sequences_per_row} sequences a row" if sequences_per_row else "not packed"
        notes.append(f"rows: {packed}, with sentence pairs (no folder of shards at data.train)")
        layout = records.RecordLayout(
            max_seq_length=config.data.max_seq_length or 0,
            max_predictions_per_seq=config.data.max_predictions_per_seq or 0,
            max_sequences_per_row=sequences_per_row,
        )
    objective = objective_named(config.objective, layout)
    features = {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in objective.features().items()}
    model = objective.make_model(config.model, config.train.precision)
    return StepInputs(model, objective, features, config.train, Training(config.optimizer), notes)


def _assumed(config: PretrainConfig, notes: list[str]) -> PretrainConfig:
    """The config with usual values where the shards would say."""
    data, model = config.data, config.model
    if model.vocab_size is None:
        model = dataclasses.replace(model, vocab_size=_VOCAB_SIZE)
        notes.append(f"vocabulary: {_VOCAB_SIZE:,} tokens (no model.vocab_size)")
    length = data.max_seq_length or _LENGTH
    if data.max_seq_length is None:
        notes.append(f"length: {length} (no data.max_seq_length)")
    predictions = data.max_predictions_per_seq or records.usual_predictions(data.masked_lm_prob, length)
    data = dataclasses.replace(data, max_seq_length=length, max_predictions_per_seq=predictions)
    return dataclasses.replace(config, data=data, model=model)


def _finetuning(config: FinetuneConfig) -> StepInputs:
    notes = []
    if config.init_from:
        network = open_source(config.init_from, "init_from").config
    else:
        network = dataclasses.replace(family_of("bert").presets["base"], vocab_size=_VOCAB_SIZE)
        notes.append("network: BERT base (no init_from)")
    task_class = task_named(config.task)
    labels = list(getattr(config.data, "labels", None) or ())
    if task_class.has_labels and not labels:
        weighted = (*config.tuning.label_weights, *config.tuning.positive_weights)
        named = list(dict.fromkeys(item.rpartition("=")[0] for item in weighted if "=" in item))
        labels = [*named, *["0", "1"][len(named) :]]
        notes.append(f"labels: {len(labels)} (no data.labels)")
    task = task_class(labels=labels, data=config.data, settings=config.head)
    check_segments(task, network, f"init_from={config.init_from}")
    model = task_model(
        task,
        network,
        dropout=config.classifier_dropout,
        dtype=config.train.precision,
        adapter_size=config.tuning.adapter_size if config.tuning.method == "adapters" else None,
    )
    tuning.prepare(model, config.tuning)
    tokenizer = tokenizer_kind(model.family.tokenizer).make(Vocabulary((*SPECIAL_TOKENS, "a")), TokenizerConfig())
    # As long as a row, or as many windows as an example may have.
    text = "a " * config.data.max_seq_length * getattr(config.data, "max_windows", 1)
    rows = TaskGraph(task, tokenizer).rows([task.sample(text)], labelled=True)
    features = {name: (x.shape[1:], x.dtype) for name, x in rows.arrays.items()}
    if config.tuning.label_smoothing:
        features["label_smoothing"] = ((), np.dtype(np.float32))
    return StepInputs(
        model, loss_weights.objective_of(task, config.tuning), features, config.train, Training(config.optimizer), notes
    )
