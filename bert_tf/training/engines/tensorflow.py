"""The engine on tf.distribute: several steps are one tf.function that strategy.run puts on the devices."""

import contextlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from bert_tf.core.config import TrainConfig
from bert_tf.models.compiled import compiled
from bert_tf.objectives.objective import Objective
from bert_tf.training import optimizer
from bert_tf.training.engines import strategy as strategies
from bert_tf.training.engines.engine import Steps, Training, WorkerBatches
from bert_tf.training.engines.failures import explained
from bert_tf.training.engines.rematerialization import rematerialized
from bert_tf.training.engines.speed import speeds_of
from bert_tf.training.step import Step, whole_step


class TensorFlowPieces:
    """A step's three functions (bert_tf.training.step.Pieces) with TensorFlow's gradients, outside of any strategy.

    Args:
      step: the model and what it learns.
      train: microbatches, seed, precision and rematerialization count here.
      training: the optimizer.
      is_compiled: whether XLA compiles the gradients.
    """

    def __init__(self, step: Step, *, train: TrainConfig, training: Training, is_compiled: bool):
        self._step, self._train, self._is_compiled = step, train, is_compiled
        self._scaled = train.precision == "mixed_float16"
        self.denominators = step.objective.denominators
        self.update = step.updater(
            training.optimizer,
            total_steps=train.steps,
            scaled=self._scaled,
            rate_shares=None if training.rate_shares is None else training.rate_shares(step.model),
        )

    def gradients(self, weights, frozen, batch, totals, number, replica, scale):
        """See Pieces. Dropout draws from seeds of (seed, step, replica, microbatch), so it keeps no state."""
        seed = tf.random.experimental.stateless_fold_in(tf.constant([self._train.seed, 0], tf.int64), number)
        seed = tf.random.experimental.stateless_fold_in(seed, replica)
        tokens, pieces = self._step.tokens(batch), self._train.microbatches
        if pieces == 1:
            return *self._of_microbatch(weights, frozen, batch, totals, seed, scale), tokens
        split = {name: tf.reshape(x, [pieces, -1, *x.shape[1:]]) for name, x in batch.items()}

        def body(index, gradients, metrics):
            piece = {name: x[index] for name, x in split.items()}
            piece_seed = tf.random.experimental.stateless_fold_in(seed, index)
            more, more_metrics = self._of_microbatch(weights, frozen, piece, totals, piece_seed, scale)
            return index + 1, [a + b for a, b in zip(gradients, more, strict=True)], metrics + more_metrics

        # A loop, not an unrolled graph: only one microbatch's activations may live at a time.
        zeros = [tf.zeros_like(weight) for weight in weights]
        start = (tf.constant(0), zeros, tf.zeros([len(self._step.objective.metrics), 2]))
        _, gradients, metrics = tf.while_loop(
            lambda index, *_: index < pieces, body, start, parallel_iterations=1, maximum_iterations=pieces
        )
        return gradients, metrics, tokens

    def _of_microbatch(self, weights, frozen, batch, totals, seed, scale):
        step, count = self._step, len(self._step.seeds)
        drawn = tf.unstack(tf.random.stateless_uniform([count, 2], seed, 0, 2**31 - 2, tf.int64)) if count else []
        values = step.values(weights, frozen, drawn)
        with contextlib.ExitStack() as stack:
            # Over the backward pass too: what is computed again there must be what was computed first.
            if self._is_compiled:
                stack.enter_context(compiled())
            with tf.GradientTape() as tape:
                tape.watch(weights)
                with rematerialized(step.model, values) if self._train.rematerialize else contextlib.nullcontext():
                    sums, _ = step.sums(values, batch, seed, training=True)
                loss = step.loss(sums, totals)
                if self._scaled:
                    loss *= scale
            gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, weights)]
            return gradients, step.metrics(sums)


class _Compiled:
    """The same pieces, those that are worth it compiled by XLA."""

    def __init__(self, pieces: TensorFlowPieces, *, gradients: bool, update: bool):
        self.denominators = pieces.denominators
        self.gradients = _jit(pieces.gradients) if gradients else pieces.gradients
        # The update is one pass over the weights if it is compiled and a dozen if it is not.
        self.update = _jit(pieces.update) if update else pieces.update


class TensorFlowEngine:
    """See bert_tf.training.engines.engine.Engine."""

    def __init__(self, train: TrainConfig):
        self._train = train
        self.worker = strategies.this_worker(train.strategy)
        self.metrics: list[str] = []

    def start(self) -> None:
        self._strategy = strategies.create(self._train.strategy)
        self.replicas = self._strategy.num_replicas_in_sync

    def place(
        self, make_model: Callable[[], keras.Model], objective: Objective, training: Training | None = None
    ) -> keras.Model:
        with self._strategy.scope():
            model = make_model()
            self._step = Step(model, objective)
            self._weights = [variable.value for variable in self._step.weights]
            self._frozen = [variable.value for variable in self._step.frozen]
            if training is not None:
                self._make_slots()
        self.metrics = [*objective.metrics, *optimizer.REPORTED]
        if training is None:
            return model
        is_tpu = isinstance(self._strategy, tf.distribute.TPUStrategy)  # it compiles everything as it is
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        xla = self._train.xla
        compiles_gradients = not is_tpu and (xla == "on" or (xla == "auto" and on_gpu))
        pieces = TensorFlowPieces(
            self._step, train=self._train, training=training, is_compiled=is_tpu or compiles_gradients
        )
        self._pieces = _Compiled(pieces, gradients=compiles_gradients, update=not is_tpu and xla != "off")
        return model

    def _make_slots(self) -> None:
        def zeros() -> list[tf.Variable]:
            return [tf.Variable(tf.zeros(w.shape, w.dtype), trainable=False) for w in self._weights]

        scale = tf.Variable(optimizer.first_scale(self._train.precision), trainable=False)
        self._slots = optimizer.Slots(zeros(), zeros(), scale)
        # Without the model's own name, which Keras counts up in a process.
        names = [variable.path.partition("/")[2] for variable in self._step.weights]
        self._state = {
            f"{kind}/{name}": variable
            for kind, variables in (("weights", self._weights), ("first", self._slots[0]), ("second", self._slots[1]))
            for name, variable in zip(names, variables, strict=True)
        } | {"loss_scale": scale}

    def open(self, batches: WorkerBatches):
        dataset, shapes = strategies.distributed(self._strategy, batches)
        return iter(dataset), shapes

    def run(self, stream, first_step: int, count: int, *, is_stopped: bool) -> Steps:
        stop = tf.constant(float(is_stopped))
        found = self._run(stream, tf.constant(first_step, tf.int64), tf.constant(count), stop)
        return Steps(*(x.numpy() for x in found))

    @tf.function
    def _run(self, stream, first_step, count, stop):
        history = tuple(tf.TensorArray(tf.float32, size=count) for _ in Steps._fields)
        for index in tf.range(count):
            number = first_step + tf.cast(index, tf.int64)
            found = self._strategy.run(self._one_step, args=(next(stream), number, stop))
            found = [self._strategy.experimental_local_results(x)[0] for x in found]
            history = tuple(array.write(index, x) for array, x in zip(history, found, strict=True))
        return [array.stack() for array in history]

    def _one_step(self, batch, number, stop):
        """One optimizer step, in a replica's context. Returns a step's part of Steps."""
        context = tf.distribute.get_replica_context()

        def of_this_step(value):
            # TensorFlow 2.20 moves a sum over devices that no step changes out of the loop, which then ends before its
            # first step or never. Such a sum is a number: the request to stop, or a constant denominator.
            return tf.where(number >= 0, value, tf.zeros_like(value)) if value.shape.rank == 0 else value

        # Weights come in as tensors: XLA takes no mirrored variable.
        weights, frozen, first, second = (
            [tf.convert_to_tensor(v) for v in part] for part in (self._weights, self._frozen, *self._slots[:2])
        )
        result = whole_step(
            self._pieces,
            lambda values: context.all_reduce("SUM", tf.nest.map_structure(of_this_step, values)),
            weights=weights,
            frozen=frozen,
            slots=optimizer.Slots(first, second, tf.convert_to_tensor(self._slots.scale)),
            batch=batch,
            number=number,
            replica=context.replica_id_in_sync_group,
            stop=stop,
        )
        variables = [*self._weights, *self._slots.first, *self._slots.second, self._slots.scale]
        values = [*result.weights, *result.slots.first, *result.slots.second, result.slots.scale]
        context.merge_call(self._assign, args=(variables, values))
        reported = [[result.reported[name], 1.0] for name in optimizer.REPORTED]
        return tf.concat([result.metrics, reported], axis=0), result.tokens, result.stops

    @staticmethod
    def _assign(strategy, variables, values):
        """Sets every replica's copy to its own result, which is the same on all of them."""
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable, lambda v, new: v.assign(new), args=(value,))

    def evaluate(self, batches: WorkerBatches, is_stopped: Callable[[], bool], *, with_outputs: bool):
        totals = np.zeros((len(self._step.objective.metrics), 2))
        gathered: list[dict[str, np.ndarray]] = []
        dataset, _ = strategies.distributed(self._strategy, batches)
        for batch in dataset:
            metrics, stops, outputs = self._evaluate_batch(batch, tf.constant(float(is_stopped())), with_outputs)
            if stops.numpy():
                return None
            totals += metrics.numpy()  # float64: thousands of batches are added up
            gathered.append({name: x.numpy() for name, x in outputs.items()})
        names = gathered[0] if gathered else ()
        return totals, {name: np.concatenate([part[name] for part in gathered]) for name in names}

    @tf.function
    def _evaluate_batch(self, batch, stop, with_outputs):
        def replica(batch, stop):
            weights, frozen = ([tf.convert_to_tensor(v) for v in part] for part in (self._weights, self._frozen))
            seed = tf.zeros([2], tf.int64)
            sums, outputs = self._step.sums(self._step.values(weights, frozen), batch, seed, training=False)
            # A copy of each replica's own: what all of them share cannot be summed.
            return self._step.metrics(sums), tf.identity(stop), outputs

        metrics, stops, outputs = self._strategy.run(replica, args=(batch, stop))
        if not with_outputs:
            outputs = {}
        # Replicas hold consecutive rows, so the gathered rows are in the order of the batch.
        gathered = {name: self._strategy.gather(x, axis=0) for name, x in outputs.items()}
        metrics, stops = (self._strategy.reduce("SUM", x, axis=None) for x in (metrics, stops))
        return metrics, stops, gathered

    def read_state(self) -> dict[str, np.ndarray]:
        # A mirrored variable's copies are equal: that of this host's first device is as good as any.
        return {name: np.array(_local(variable)) for name, variable in self._state.items()}

    def write_state(self, state: dict[str, np.ndarray]) -> None:
        for name, value in state.items():
            self._state[name].assign(value)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(variable.shape) for name, variable in self._state.items()}

    def sum_over_workers(self, values: list[int]) -> list[int]:
        def replica():
            return tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(values, tf.int64))

        summed = tf.function(lambda: self._strategy.run(replica), autograph=False)()
        return self._strategy.experimental_local_results(summed)[0].numpy().tolist()

    def explained(self, place: str, damage: Callable[[], str | None] = lambda: None):
        return explained(place, damage, self._train, self.worker)

    def profiled(self, folder: str):
        return tf.profiler.experimental.Profile(folder)

    def speeds(self, compute_dtype: str) -> dict[str, float]:
        device = self._strategy.extended.worker_devices[0]
        # Logical CPU devices are one and the same processor.
        devices = self.worker.count if "CPU" in device else self.replicas
        return {name: devices * speed for name, speed in speeds_of(device, compute_dtype).items()}


def _local(variable: tf.Variable) -> np.ndarray:
    values = getattr(variable, "values", None)  # of a variable that is mirrored
    return (values[0] if values else variable).numpy()


def _jit(function: Callable) -> Callable:
    return tf.function(function, jit_compile=True, autograph=False)
