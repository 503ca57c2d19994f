"""A run's config -> what its training step is compiled from: the model, and the shapes of a batch."""

import dataclasses
import os

import keras
import numpy as np

from bert_tf.core import records
from bert_tf.core.config import OptimizerConfig, PretrainConfig, TrainConfig, preset
from bert_tf.core.config_finetune import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.interop.source import open_source
from bert_tf.models import tuning
from bert_tf.objectives.masked_lm import BertForPreTraining
from bert_tf.tasks import task_named
from bert_tf.text.vocabulary import SPECIAL_TOKENS
from bert_tf.text.wordpiece import Tokenizer
from bert_tf.training.data.shard_folder import ShardFolder


@dataclasses.dataclass
class Run:
    """What a step is made of.

    Attributes:
      model: built.
      features: {name: (shape of one example, dtype)}.
      train, optimizer: of the config.
      notes: what was assumed.
    """

    model: keras.Model
    features: dict[str, tuple[tuple[int, ...], np.dtype]]
    train: TrainConfig
    optimizer: OptimizerConfig
    notes: list[str]


def of_config(config: PretrainConfig | FinetuneConfig, sequences_per_row: int = 0) -> Run:
    """The run of a config.

    Args:
      config: of pretraining or fine-tuning.
      sequences_per_row: of packed pretraining shards; where data.train is a folder of shards, it says so itself.

    Raises:
      InputError: shards or a start that do not fit the config.
    """
    if isinstance(config, PretrainConfig):
        return _pretraining(config, sequences_per_row)
    return _finetuning(config)


def _pretraining(config: PretrainConfig, sequences_per_row: int) -> Run:
    data, notes = config.data, []
    layout = records.RecordLayout(
        max_seq_length=data.max_seq_length,
        max_predictions_per_seq=data.max_predictions_per_seq,
        max_sequences_per_row=sequences_per_row,
    )
    manifest = os.path.join(data.train, records.MANIFEST)
    if data.train and os.path.exists(manifest):
        found = ShardFolder.open(data.train, "data.train").layout
        if found.max_seq_length != data.max_seq_length:
            raise InputError(
                f"data.max_seq_length={data.max_seq_length}: expected what the shards were made with. "
                f"data.train={data.train} has {found.max_seq_length}."
            )
        # Masks that are drawn in training are as many as the config says.
        layout = dataclasses.replace(found, max_predictions_per_seq=data.max_predictions_per_seq)
    else:
        packed = f"packed, {sequences_per_row} sequences a row" if sequences_per_row else "not packed"
        notes.append(f"rows: {packed}, with sentence pairs (no folder of shards at data.train)")
    features = {
        name: (shape, np.dtype(np.int32 if dtype == "int64" else np.float32))
        for name, (shape, dtype) in layout.features.items()
    }
    # What the input pipeline adds for the loss of rows without pairs or with one pair.
    sequences = ((layout.max_sequences_per_row if layout.has_pairs else 0) or 1,)
    features["next_sentence_weights"] = (sequences, np.dtype(np.float32))
    features.setdefault("next_sentence_labels", (sequences, np.dtype(np.int32)))
    model = BertForPreTraining(config.model, dtype=config.train.precision)
    model.build()
    return Run(model, features, config.train, config.optimizer, notes)


def _finetuning(config: FinetuneConfig) -> Run:
    notes = []
    if config.init_from:
        network = open_source(config.init_from, "init_from").config
    else:
        network = preset("base")
        notes.append("network: BERT base (no init_from)")
    labels = list(config.data.labels or ())
    task_class = task_named(config.task)
    if task_class.has_labels and not labels:
        labels = ["0", "1"]
        notes.append("labels: two (no data.labels)")
    task = task_class(labels=labels, data=config.data, head=config.head)
    kwargs = {"dropout": config.classifier_dropout, "dtype": config.train.precision}
    if config.tuning.method == "adapters":
        kwargs["adapter_size"] = config.tuning.adapter_size
    model = task.make_model(network, **kwargs)
    tuning.prepare(model, config.tuning)
    rows = task.rows([_example(config, labels)], Tokenizer([*SPECIAL_TOKENS, "a"]), labelled=True)
    features = {name: (x.shape[1:], x.dtype) for name, x in rows.arrays.items()}
    if config.tuning.label_smoothing:
        features["label_smoothing"] = ((), np.dtype(np.float32))
    return Run(model, features, config.train, config.optimizer, notes)


def _example(config: FinetuneConfig, labels: list[str]) -> dict:
    """An example that every task can make a row of."""
    label = labels[0] if labels else 0.5
    if config.task == "multi_label":
        label = [label]
    if config.task == "multiple_choice":
        label = 0
    return {
        "place": "example",
        "id": "0",
        "text": "a",
        "second_text": "a",
        "stem": "a",
        "label": label,
        "context": "a",
        "answers": [{"text": "a", "start": 0}],
        **({"words": ["a"], "tags": labels[:1]} if config.task == "token_classification" else {}),
        "choices": ["a"] * 4,
    }
