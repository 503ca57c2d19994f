"""Where a run's batches come from."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from bert_tf.training.worker import Worker


@dataclasses.dataclass(frozen=True)
class Batches:
    """What a Trainer reads.

    Attributes:
      training: first batch and worker -> the worker's part of the endless stream of global batches from there on.
      validation: worker -> its part of a finite stream; None: no evaluation.
      sources: first batch and number of batches -> where they were read, in words.
      damage: the same -> what is wrong with the files that hold them, None if nothing is found.
      validation_damage: likewise, of the validation data.
      progress: number of batches -> metrics of what was read until there, such as epochs.
    """

    training: Callable[[int, Worker], tf.data.Dataset]
    validation: Callable[[Worker], tf.data.Dataset] | None
    sources: Callable[[int, int], str]
    damage: Callable[[int, int], str | None] = lambda first, count: None
    validation_damage: Callable[[], str | None] = lambda: None
    progress: Callable[[int], dict[str, float]] = lambda batches: {}
