"""The weights of a model by name, and setting them from somewhere."""

import dataclasses
from collections.abc import Callable, Collection, Iterator

import keras
import numpy as np

from bert_tf.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Which weights a model took: names as in the source."""

    loaded: list[str]
    fresh: list[str]
    unused: list[str]

    def __str__(self) -> str:
        fresh = f", fresh: {', '.join(self.fresh)}" if self.fresh else ""
        unused = f", unused: {', '.join(self.unused)}" if self.unused else ""
        return f"{len(self.loaded)} weights loaded{fresh}{unused}"


def assign(
    model: keras.Model,
    *,
    present: Collection[str],
    rename: Callable[[str], str],
    read: Callable[[str, bool], np.ndarray],
    source: str,
) -> LoadReport:
    """Sets every weight of `model` that the source holds.

    Args:
      model: anything that weight_names knows.
      present: the source's names.
      rename: Hugging Face's name of a weight -> the source's.
      read: (the source's name, whether Hugging Face stores the transpose of our kernel) -> the value in our layout.
      source: for errors.

    Raises:
      InputError: a shape differs, or not one weight is the encoder's.
    """
    loaded, fresh = [], []
    for standard_name, variable, transposed in weight_names(model):
        name = rename(standard_name)
        if name not in present:
            fresh.append(name)
            continue
        set_value(variable, read(name, transposed), f"{source}: {name}")
        loaded.append(name)
    if not any("encoder" in name for name in loaded):
        held = ", ".join(sorted(present)[:5]) or "none"
        raise InputError(f"{source}: expected the weights of a BERT encoder. Received {len(present)} weights: {held}.")
    return LoadReport(loaded, fresh, sorted(set(present) - set(loaded)))


def weight_names(model: keras.Model) -> Iterator[tuple[str, keras.Variable, bool]]:
    """(name in safetensors, variable, whether theirs is the transpose) for every weight of a model."""
    encoder = model.encoder
    embeddings = encoder.embeddings
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        yield f"bert.embeddings.{name}.weight", getattr(embeddings, name), False
    yield from _norm("bert.embeddings.LayerNorm", embeddings.layer_norm)
    for index, block in enumerate(encoder.blocks):
        prefix = f"bert.encoder.layer.{index}"
        for name in ("query", "key", "value"):
            yield from _linear(f"{prefix}.attention.self.{name}", getattr(block.attention, name))
        yield from _linear(f"{prefix}.attention.output.dense", block.attention.output_dense)
        yield from _norm(f"{prefix}.attention.output.LayerNorm", block.attention_norm)
        yield from _linear(f"{prefix}.intermediate.dense", block.intermediate)
        yield from _linear(f"{prefix}.output.dense", block.output_dense)
        yield from _norm(f"{prefix}.output.LayerNorm", block.output_norm)
        # transformers knows no adapters; these names are ours.
        for place, adapter in zip(("attention.output", "output"), block.adapters, strict=False):
            yield from _linear(f"{prefix}.{place}.adapter.down", adapter.down)
            yield from _linear(f"{prefix}.{place}.adapter.up", adapter.up)
    if encoder.pooler is not None:
        yield from _linear("bert.pooler.dense", encoder.pooler)
    if hasattr(model, "masked_lm"):
        yield from _linear("cls.predictions.transform.dense", model.masked_lm.transform)
        yield from _norm("cls.predictions.transform.LayerNorm", model.masked_lm.transform_norm)
        yield "cls.predictions.bias", model.masked_lm.bias, False
    if hasattr(model, "next_sentence"):
        yield from _linear("cls.seq_relationship", model.next_sentence)
    for name in ("classifier", "qa_outputs"):
        if hasattr(model, name):
            yield from _linear(name, getattr(model, name))


def named_arrays(model: keras.Model) -> Iterator[tuple[str, np.ndarray, keras.Variable]]:
    """(name, value as transformers stores it, variable) of every weight of a model; LoRA is merged."""
    for name, variable, transposed in weight_names(model):
        value = keras.ops.convert_to_numpy(variable)
        yield name, value.T if transposed else value, variable


def set_value(variable: keras.Variable, value: np.ndarray, place: str) -> None:
    """Assigns a value in our layout.

    Raises:
      InputError: it has another shape.
    """
    if tuple(value.shape) != tuple(variable.shape):
        raise InputError(
            f"{place}: expected shape {tuple(variable.shape)}, as the model has it. Received: {tuple(value.shape)}."
        )
    variable.assign(value.astype(np.float32))


def _linear(prefix: str, layer: keras.layers.Dense):
    yield f"{prefix}.weight", layer.kernel, True
    yield f"{prefix}.bias", layer.bias, False


def _norm(prefix: str, layer: keras.layers.LayerNormalization):
    yield f"{prefix}.weight", layer.gamma, False
    yield f"{prefix}.bias", layer.beta, False
