"""The interface of an engine: where a model's weights lie and who runs its steps; and the table of engines.

Example:
  engine = engine_named("tensorflow")(train)  # the class of an entry, with the config's section
  engine.start()
  model = engine.place(make_model, objective, Training(optimizer_config))
  steps = engine.run(engine.open(batches), first_step=0, count=10, is_stopped=False)
  engine.write_state(engine.read_state())
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.core.errors import InputError
from bert_tf.models.family import loaded
from bert_tf.objectives.objective import Objective
from bert_tf.training.worker import Worker

# A config's train.engine -> module:class.
ENGINES: dict[str, str] = {
    "tensorflow": "bert_tf.training.engines.tensorflow:TensorFlowEngine",
}

WorkerBatches = Callable[[Worker], Iterable]  # a worker -> its part of a stream of global batches, a tf.data.Dataset


class Training(NamedTuple):
    """What an engine must know to train, beside the config's section `train`.

    Attributes:
      optimizer: rates and decays.
      rate_shares: model -> by which each trainable variable's rate is multiplied; None for 1.
    """

    optimizer: OptimizerConfig
    rate_shares: Callable[[keras.Model], Sequence[float]] | None = None


class Steps(NamedTuple):
    """What some steps gave, step by step.

    Attributes:
      metrics: float32 [steps, metrics, 2]: (sum, weight) over the replicas, in the order of Engine.metrics.
      tokens: float32 [steps], of text.
      stops: float32 [steps], workers that were asked to stop.
    """

    metrics: np.ndarray
    tokens: np.ndarray
    stops: np.ndarray


class Engine(Protocol):
    """Runs steps. Made from the config's section `train`; cheap until `start`.

    Attributes:
      worker: this process's place among the workers.
      replicas: equal parts of a global batch; known after `start`.
      metrics: names of what Steps.metrics holds: the objective's, then the optimizer's.
    """

    worker: Worker
    replicas: int
    metrics: Sequence[str]

    def __init__(self, train: TrainConfig): ...

    def start(self) -> None:
        """Takes the devices. Several workers wait here for one another.

        Raises:
          InputError: they are not there.
        """

    def place(
        self, make_model: Callable[[], keras.Model], objective: Objective, training: Training | None = None
    ) -> keras.Model:
        """Makes the model on the devices, with an optimizer's slots if it is to be trained."""

    def open(self, batches: WorkerBatches) -> tuple[Any, dict[str, tuple[int, ...]]]:
        """A stream of batches for `run`, and {feature: shape of a global batch}."""

    def run(self, stream: Any, first_step: int, count: int, *, is_stopped: bool) -> Steps:
        """Runs `count` steps; `is_stopped` says whether this worker was asked to stop."""

    def evaluate(
        self, batches: WorkerBatches, is_stopped: Callable[[], bool], *, with_outputs: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]] | None:
        """float64 [metrics, 2] of the objective over a finite stream, and the model's outputs for all rows in order.

        None if a worker was asked to stop; then all give up after the same batch.
        """

    def read_state(self) -> dict[str, np.ndarray]:
        """weights/NAME, first/NAME and second/NAME (moments) of every trainable weight, and loss_scale."""

    def write_state(self, state: dict[str, np.ndarray]) -> None:
        """Sets what read_state gave. Slots that are not in `state` stay as they are."""

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """{name: shape} of read_state."""

    def sum_over_workers(self, values: list[int]) -> list[int]:
        """The sum over all replicas of each value; returns when all have called it."""

    def explained(
        self, place: str, damage: Callable[[], str | None] = lambda: None
    ) -> contextlib.AbstractContextManager:
        """Turns the engine's own errors into InputError and Preempted.

        Args:
          place: where in the run they come, such as "steps 3 to 5".
          damage: what is wrong with the files that are read there, None if nothing is found.
        """

    def profiled(self, folder: str) -> contextlib.AbstractContextManager:
        """Writes a profile of what runs meanwhile, for TensorBoard."""

    def speeds(self, compute_dtype: str) -> dict[str, float]:
        """Floating-point operations a second of all devices together, by what they are the measure of.

        matmul_utilization: as measured in a matrix product; model_flops_utilization: the devices' published peak, where
        it is known.
        """


def engine_named(name: str) -> type[Engine]:
    """The class of an engine.

    Raises:
      InputError: there is none of this name.
    """
    if name not in ENGINES:
        raise InputError(f"train.engine={name}: expected one of {', '.join(ENGINES)}.")
    return loaded(ENGINES[name])
