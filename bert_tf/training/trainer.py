"""The training loop: one tf.function runs several steps (bert_tf/training/step.py) on the device by strategy.run."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import keras
import numpy as np
import tensorflow as tf

from bert_tf.config import OptimizerConfig, TrainConfig
from bert_tf.errors import InputError, Preempted
from bert_tf.training import faults, optimizer, throughput
from bert_tf.training.checkpoints import Checkpoints, State
from bert_tf.training.evaluator import Evaluator, summarize
from bert_tf.training.monitoring import Monitor
from bert_tf.training.step import Step
from bert_tf.training.stop_request import StopRequest
from bert_tf.training.strategy import Worker, distributed

_REWINDS_AT_MOST = 10  # in one process; a run that meets more is not helped by skipping batches
_TOKENS, _STOP = "tokens", "stop"  # rows of a step's sums beside the model's metrics


@dataclasses.dataclass(frozen=True)
class Batches:
    """Where a run's batches come from.

    Attributes:
      training: first batch and worker -> the worker's part of the endless stream of global batches from there on.
      validation: worker -> its part of a finite stream; None: no evaluation.
      sources: first batch and number of batches -> where they were read, in words.
      damage: the same -> what is wrong with the files that hold them, None if nothing is found.
      validation_damage: likewise, of the validation data.
    """

    training: Callable[[int, Worker], tf.data.Dataset]
    validation: Callable[[Worker], tf.data.Dataset] | None
    sources: Callable[[int, int], str]
    damage: Callable[[int, int], str | None] = lambda first, count: None
    validation_damage: Callable[[], str | None] = lambda: None


class Trainer:
    """Trains any model that has metric_names, loss_weights, loss_sums, metric_sums, derived_metrics and forward_flops.

    See BertForPreTraining.

    Args:
      model_fn: makes the built model; called under the strategy, after the seed is set.
      train: how the run goes.
      optimizer_config: rates and decays.
      strategy: where it runs.
      workdir: for checkpoints and metrics; the same folder for all workers.
      worker: which of them this process is.

    Raises:
      InputError: the global batch does not divide into replicas and microbatches.
    """

    def __init__(
        self,
        model_fn: Callable[[], keras.Model],
        *,
        train: TrainConfig,
        optimizer_config: OptimizerConfig,
        strategy: tf.distribute.Strategy,
        workdir: str,
        worker: Worker = Worker(),  # noqa: B008 - it is immutable
    ):
        pieces = strategy.num_replicas_in_sync * train.microbatches
        if train.global_batch_size % pieces:
            raise InputError(
                f"train.global_batch_size={train.global_batch_size}: expected a multiple of replicas x microbatches = "
                f"{strategy.num_replicas_in_sync} x {train.microbatches}."
            )
        self._train, self._strategy, self._workdir, self._worker = train, strategy, workdir, worker
        keras.utils.set_random_seed(train.seed)
        with strategy.scope():
            self.model = model_fn()
            self._weights = [variable.value for variable in self.model.trainable_variables]
            first, second = (
                [tf.Variable(tf.zeros(w.shape, w.dtype), trainable=False) for w in self._weights] for _ in range(2)
            )
            scale = tf.Variable(optimizer.first_scale(train.precision), trainable=False)
            self._slots = optimizer.Slots(first, second, scale)
        self._checkpoints = Checkpoints(
            workdir,
            # Without the model's own name, which Keras counts up in a process.
            names=[variable.path.partition("/")[2] for variable in self.model.trainable_variables],
            weights=self._weights,
            slots=self._slots,
            keep=train.keep_checkpoints,
            is_writer=worker.is_chief,
        )
        self._step = Step(self.model, train=train, optimizer_config=optimizer_config)
        # Weights come in as tensors: XLA takes no mirrored variable. A TPU compiles everything as it is.
        is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        compiles_gradients = not is_tpu and (train.xla == "on" or (train.xla == "auto" and on_gpu))
        # The update is one pass over the weights if it is compiled and a dozen if it is not.
        compiles_update = not is_tpu and train.xla != "off"
        self._gradients = _compiled(self._step.gradients) if compiles_gradients else self._step.gradients
        self._update = _compiled(self._step.update) if compiles_update else self._step.update
        self._evaluator = Evaluator(self.model, strategy)
        self._names = [*self.model.metric_names, _TOKENS, _STOP, *optimizer.TOLD]

    def fit(self, batches: Batches) -> dict[str, float]:
        """Runs from the latest checkpoint to the last step.

        Returns:
          The last evaluation's metrics, empty without validation.

        Raises:
          InputError: a loss that is no number, unreadable data, a step that does not fit into memory, a disk that is
            full. What was saved before stays.
          Preempted: SIGTERM came, and where the run is was saved; or another worker is gone.
        """
        state = self._checkpoints.restore()
        with self._explained("the start"):
            self._check_same_step(state.step)
        rewinds = 0
        with StopRequest() as stop:
            while True:
                try:
                    return self._fit_from(state, batches, stop)
                except faults.NonFiniteError as fault:
                    if self._train.on_nonfinite == "stop" or rewinds == _REWINDS_AT_MOST:
                        raise InputError(f"{fault} {self._advice(rewinds)}") from None
                    rewinds += 1
                    try:
                        with self._explained(f"going back from step {fault.step}"):
                            back = self._checkpoints.rewind(self._train.rewind_checkpoints, self._wait_for_all)
                    except InputError as error:
                        raise InputError(f"{fault} {error}") from None
                    # The step that comes next takes the batch behind the faulty one.
                    skipped = fault.step + state.skipped + 1 - back.step
                    if self._worker.is_chief:
                        print(
                            f"{fault} Going back to step {back.step}; {skipped - back.skipped} batches are skipped.",
                            flush=True,
                        )
                    state = back._replace(skipped=skipped)
                except Preempted:
                    self._checkpoints.wait()  # the process ends without waiting for its threads
                    raise

    def _advice(self, rewinds: int) -> str:
        if rewinds:
            return f"It is the {rewinds + 1}th time in this process, so skipping batches does not help."
        return (
            "Give the same command with train.on_nonfinite=rewind to go back and skip such batches, or begin anew with "
            "a lower optimizer.learning_rate."
        )

    def _explained(self, place: str, damage: Callable[[], str | None] = lambda: None):
        return faults.explained(place, damage, self._train, self._worker)

    def _fit_from(self, state: State, batches: Batches, stop: StopRequest) -> dict[str, float]:
        config, worker = self._train, self._worker
        step = state.step
        if step and worker.is_chief:
            print(f"resuming at step {step} of {config.steps}", flush=True)
        if step == config.steps and not state.owes_evaluation:
            if batches.validation is None:
                return {}
            with self._explained("the last evaluation", batches.validation_damage):
                return self._evaluator.evaluate(batches.validation)
        monitor = None
        if worker.is_chief:
            monitor = Monitor(
                self._workdir, start_step=step, total_steps=config.steps, owes_evaluation=state.owes_evaluation
            )
        evaluated: dict[str, float] = {}

        def tell(split: str, metrics: dict[str, float]) -> None:
            if monitor is not None:
                monitor.write(step, split, metrics)
                monitor.show(step, split, metrics)

        def evaluate() -> None:
            nonlocal evaluated
            if batches.validation is None:
                return
            with self._explained(f"the evaluation at step {step}", batches.validation_damage):
                found = self._evaluator.evaluate(batches.validation, lambda: stop.received)
            if found is None:
                save_and_stop(owes_evaluation=True)
            evaluated = found
            tell("validation", evaluated)
            self._checkpoints.save_if_best(now(), evaluated["loss"])

        def now() -> State:
            return State(step, state.skipped, np.concatenate(window) if window else None)

        def save_and_stop(*, owes_evaluation: bool = False) -> NoReturn:
            self._checkpoints.save(now()._replace(owes_evaluation=owes_evaluation))
            self._checkpoints.wait()
            raise Preempted(f"SIGTERM: step {step} of {config.steps} is saved. Give the same command to go on.")

        window = [] if state.pending is None else [state.pending]
        if step == 0 or state.owes_evaluation:
            evaluate()
            if step == config.steps:
                self._checkpoints.save(now())
                self._checkpoints.wait()
                return evaluated
        dataset, shapes = distributed(self._strategy, lambda worker: batches.training(step + state.skipped, worker))
        iterator = iter(dataset)
        rate = throughput.Rate(self._peak_steps(shapes) if worker.is_chief else None)
        for count in self._loops(step):
            first_batch = step + state.skipped
            began = time.monotonic()
            with (
                self._profiled(step, monitor),
                self._explained(
                    f"steps {step} to {step + count}",
                    # The batch behind them is read ahead.
                    lambda first=first_batch, count=count: batches.damage(first, count + 1),
                ),
            ):
                sums = self._run_steps(
                    iterator, tf.constant(step, tf.int64), tf.constant(count), tf.constant(float(stop.received))
                ).numpy()
            rate.add(count * config.global_batch_size, sums[:, self._names.index(_TOKENS), 0].sum(), count, began)
            faults.check_finite(
                self._names, sums, step, first_batch, batches, scaled=config.precision == "mixed_float16"
            )
            window.append(sums)
            step += count
            if step % config.log_every == 0 or step == config.steps:
                tell("train", {**self._summarize(np.concatenate(window)), **rate.take()})
                window = []
            if step % config.evaluate_every == 0 or step == config.steps:
                evaluate()
            if step % config.checkpoint_every == 0 or step == config.steps:
                self._checkpoints.save(now())
            # With others, told by a sum over all of them, hence at the same step for all, which may take a loop more.
            is_told = stop.received if worker.count == 1 else sums[-1, self._names.index(_STOP), 0] > 0
            if is_told and step < config.steps:
                save_and_stop()
        self._checkpoints.wait()
        return evaluated

    def _loops(self, step: int) -> Iterator[int]:
        """Numbers of steps to run at once, so that every multiple of an interval falls on a loop's end."""
        config = self._train
        intervals = (config.log_every, config.evaluate_every, config.checkpoint_every)
        profiled = (config.profile_steps[0] - 1, config.profile_steps[1]) if config.profile_steps else ()
        while step < config.steps:
            ends = [step + config.steps_per_loop, config.steps, *(step - step % n + n for n in intervals)]
            ends += [edge for edge in profiled if edge > step]
            yield min(ends) - step
            step = min(ends)

    def _summarize(self, history: np.ndarray) -> dict[str, float]:
        """[steps, metrics, 2] of (sum, weight) -> {name: mean}."""
        # A gradient that overflowed in float16 was left out of the weights, and is left out here.
        history = np.where(np.isfinite(history[..., :1]), history, 0.0)
        means = summarize(self._names, history.sum(axis=0, dtype=np.float64))
        unused = (_TOKENS, _STOP) if self._train.precision == "mixed_float16" else (_TOKENS, _STOP, "loss_scale")
        return {name: value for name, value in means.items() if name not in unused}

    @contextlib.contextmanager
    def _profiled(self, step: int, monitor: Monitor | None) -> Iterator[None]:
        """A profile of steps that lie in train.profile_steps; one that several loops make up is one of each loop."""
        first, last = self._train.profile_steps or (0, 0)
        if monitor is None or not first <= step + 1 <= last:
            yield
            return
        with tf.profiler.experimental.Profile(monitor.events_folder):
            yield

    def _peak_steps(self, shapes: dict[str, tuple[int, ...]]) -> float:
        """How many steps a second there would be, were they matrix products alone, at the devices' measured speed."""
        flops = throughput.step_flops(self.model.forward_flops(shapes))
        device = self._strategy.extended.worker_devices[0]
        # Logical CPU devices are one and the same processor.
        devices = self._worker.count if "CPU" in device else self._strategy.num_replicas_in_sync
        speed = throughput.matrix_speed(self.model.compute_dtype, device)
        return speed * devices / flops

    @tf.function
    def _run_steps(self, iterator, first_step, count, stop):
        """Runs `count` steps. Returns float32 [count, metrics, 2]: (sum, weight) over the replicas, step by step."""
        history = tf.TensorArray(tf.float32, size=count)
        for index in tf.range(count):
            step = first_step + tf.cast(index, tf.int64)
            sums = self._strategy.run(self._train_step, args=(next(iterator), step, stop))
            history = history.write(index, self._strategy.experimental_local_results(sums)[0])
        return history.stack()

    def _train_step(self, batch, step, stop):
        """One optimizer step, in a replica's context. Returns float32 [metrics, 2] over all replicas."""
        context = tf.distribute.get_replica_context()
        weights = [tf.convert_to_tensor(variable) for variable in self._weights]
        slots = optimizer.Slots(
            *([tf.convert_to_tensor(v) for v in moments] for moments in self._slots[:2]),
            tf.convert_to_tensor(self._slots.scale),
        )
        totals = context.all_reduce("SUM", self.model.loss_weights(batch))
        gradients, sums = self._gradients(
            weights, batch, totals, step, context.replica_id_in_sync_group, slots.scale[0]
        )
        tokens = tf.cast(tf.reduce_sum(batch["input_mask"]), tf.float32)
        sums = tf.concat([sums, [[tokens, 1.0], [stop, 1.0]]], axis=0)
        *gradients, sums = context.all_reduce("SUM", [*gradients, sums])
        new_weights, new_slots, told = self._update(weights, slots, gradients, step)
        variables = [*self._weights, *self._slots.first, *self._slots.second, self._slots.scale]
        values = [*new_weights, *new_slots.first, *new_slots.second, new_slots.scale]
        context.merge_call(self._assign, args=(variables, values))
        return tf.concat([sums, [[told[name], 1.0] for name in optimizer.TOLD]], axis=0)

    @staticmethod
    def _assign(strategy, variables, values):
        """Sets every replica's copy to its own result, which is the same on all of them."""
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable, lambda v, new: v.assign(new), args=(value,))

    def _sum_over_workers(self, values: list[int]) -> list[int]:
        def replica():
            return tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(values, tf.int64))

        summed = tf.function(lambda: self._strategy.run(replica), autograph=False)()
        return self._strategy.experimental_local_results(summed)[0].numpy().tolist()

    def _wait_for_all(self) -> None:
        if self._worker.count > 1:
            self._sum_over_workers([1])

    def _check_same_step(self, step: int) -> None:
        """Workers that see different checkpoints do not share their workdir."""
        if self._worker.count == 1:
            return
        total, squares = self._sum_over_workers([step, step * step])
        replicas = self._strategy.num_replicas_in_sync
        if total != replicas * step or squares != replicas * step * step:
            raise InputError(
                f"--workdir {self._workdir}: expected one folder that all workers see, so that all resume at the same "
                f"step. Received step {step} here and another one elsewhere."
            )


def _compiled(function: Callable) -> Callable:
    return tf.function(function, jit_compile=True, autograph=False)
