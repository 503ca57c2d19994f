"""The weights of a model by name, and setting them from somewhere."""

import dataclasses
from collections.abc import Callable, Collection, Iterator

import keras
import numpy as np

from bert_tf.core.errors import InputError
from bert_tf.models.family import WeightRecord, records


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
      model: of some family.
      present: the source's names.
      rename: transformers' name of a weight -> the source's.
      read: (the source's name, whether transformers stores the transpose of our kernel) -> the value in our layout.
      source: for errors.

    Raises:
      InputError: a shape differs, or not one weight is the encoder's.
    """
    loaded, fresh, has_encoder = [], [], False
    for record in records(model):
        name = rename(record.name)
        if name not in present:
            fresh.append(name)
            continue
        set_value(record.variable, read(name, record.transposed), f"{source}: {name}")
        loaded.append(name)
        has_encoder |= record.depth > 0
    if not has_encoder:
        held = ", ".join(sorted(present)[:5]) or "none"
        raise InputError(
            f"{source}: expected the weights of an encoder of model_type {model.family.model_type!r}. "
            f"Received {len(present)} weights: {held}."
        )
    return LoadReport(loaded, fresh, sorted(set(present) - set(loaded)))


def named_arrays(model: keras.Model) -> Iterator[tuple[WeightRecord, np.ndarray]]:
    """(record, value as transformers stores it) of every weight of a model; LoRA is merged."""
    for record in records(model):
        value = keras.ops.convert_to_numpy(record.variable)
        yield record, value.T if record.transposed else value


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
