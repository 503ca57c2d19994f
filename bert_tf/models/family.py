"""The interface of an encoder family, and the table of families.

A family is one folder, bert_tf/models/FAMILY/. What the rest of the project needs to know of a network is asked here:
optimizers, freezing, LoRA, checkpoints of others, exports and preflight read the records of its weights.

Example:
  >>> family = family_of("bert")
  >>> config = family.presets["tiny"]  # or family.config_class(hidden_size=64, ...)
  >>> model = make_model(config, {"masked_lm": {}, "pair": {}})  # of bert_tf/models/model.py
  >>> [record.name for record in family.weights(model)][:1]
  ['bert.embeddings.word_embeddings.weight']
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import keras

from bert_tf.core.config import EncoderConfig
from bert_tf.core.errors import InputError

# model_type of a config.json -> module:attribute of the family.
FAMILIES: dict[str, str] = {
    "bert": "bert_tf.models.bert.family:BERT",
}


class WeightRecord(NamedTuple):
    """What there is to know of one weight.

    Attributes:
      name: in transformers' files, such as bert.encoder.layer.0.output.dense.weight.
      variable: of the model; a tensor where LoRA is merged into it.
      transposed: whether transformers stores the transpose.
      decays: whether weight decay and LAMB's ratio apply to it.
      depth: how many blocks lie from the head down to it: 0 for heads and what they read through, 1 for the last block,
        one more than there are blocks for the embeddings.
      part: "embeddings", "pooler", "head", "adapter", "norm" or, of a block, a part that tuning.lora_targets may name.
      layer: the dense layer that the weight is the kernel of, where LoRA may be added; None elsewhere.
    """

    name: str
    variable: Any
    transposed: bool = False
    decays: bool = True
    depth: int = 0
    part: str = "head"
    layer: Any = None


class Family(Protocol):
    """One architecture of encoders, with its heads.

    Attributes:
      model_type: of transformers' config.json.
      config_class: frozen dataclass with transformers' field names.
      presets: {name: config} of the published sizes, without a vocabulary.
      tokenizer: kind of its vocabulary, a name of bert_tf.text.tokenizer.TOKENIZERS.
      architectures: {class of transformers: kinds of head}; the bare encoder, the last of them, has none.
      lora_targets: parts of a block that LoRA may be added to, {part: end of the module's name in transformers}.
    """

    model_type: str
    config_class: type[EncoderConfig]
    presets: Mapping[str, EncoderConfig]
    tokenizer: str
    architectures: Mapping[str, tuple[str, ...]]
    lora_targets: Mapping[str, str]

    def encoder(
        self, config: Any, *, heads: tuple[str, ...], with_pooler: bool | None, adapter_size: int | None, dtype: Any
    ) -> keras.layers.Layer:
        """The encoder, not built yet: called with a batch of features it returns a dict; see models/model.py.

        Args:
          config: of the network.
          heads: kinds of the heads that read it.
          with_pooler: whether there is a pooled output; None: where a head reads it.
          adapter_size: width of adapters in every block; None for none.
          dtype: Keras' name of a policy.
        """

    def head(self, kind: str, config: Any, *, dtype: Any, **settings: Any) -> keras.layers.Layer:
        """A head of a kind (see bert_tf/models/heads.py), not built yet.

        Raises:
          InputError: the family has no such head.
        """

    def weights(self, model: keras.Model) -> Iterator[WeightRecord]:
        """A record of every weight of a model, in the order of the network."""

    def read_config(self, settings: dict, place: str) -> EncoderConfig:
        """transformers' config.json -> config; `place` names the file in errors.

        Raises:
          InputError: a network that this family does not compute.
        """

    def extra_settings(self, config: Any) -> dict:
        """What transformers' config.json says beside the config's own fields."""

    def canonical_name(self, name: str) -> str | None:
        """The record's name of a weight in a file, whatever its spelling; None for what follows from other weights."""

    def bare_name(self, name: str) -> str:
        """The name of an encoder's weight in files that hold no head."""


def family_of(model_type: str, place: str = "model.model_type") -> Family:
    """The family of a config's model_type; `place` names it in errors."""
    if model_type not in FAMILIES:
        raise InputError(f"{place}: expected model_type {' or '.join(map(repr, FAMILIES))}. Received: {model_type!r}.")
    return loaded(FAMILIES[model_type])


def loaded(entry: str) -> Any:
    """What an entry of a table names, module:attribute."""
    module, _, attribute = entry.partition(":")
    return getattr(importlib.import_module(module), attribute)


def architecture_of(model: keras.Model) -> str:
    """The class of transformers that opens a model; heads without weights do not count."""
    kinds = {kind for kind, head in model.heads.items() if head.weights}
    return next(name for name, heads in model.family.architectures.items() if set(heads) == kinds)


def records(model: keras.Model) -> list[WeightRecord]:
    """Records of every weight of a model."""
    return list(model.family.weights(model))


def by_variable(model: keras.Model) -> Callable[[keras.Variable], WeightRecord | None]:
    """Variable -> its record; None for what is no weight, such as a state of dropout, and for LoRA's own weights."""
    found = {id(record.variable): record for record in records(model)}
    return lambda variable: found.get(id(variable))
