"""The training loop: steps on the device, evaluations, checkpoints, metrics."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import keras
import numpy as np
import tensorflow as tf

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.core.errors import InputError, Preempted
from bert_tf.training import faults, throughput
from bert_tf.training.data.batches import Batches
from bert_tf.training.engines.strategy import Worker, distributed
from bert_tf.training.engines.tensorflow import STOP, TOKENS, DeviceLoop
from bert_tf.training.evaluator import Evaluator, Selection, summarize
from bert_tf.training.stop_request import StopRequest
from bert_tf.training.workdir.checkpoints import Checkpoints, State
from bert_tf.training.workdir.monitoring import Monitor

_REWINDS_AT_MOST = 10  # in one process; a run that meets more is not helped by skipping batches


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
      rate_shares: model -> by which each trainable variable's rate is multiplied; None for 1.
      selection: which evaluation is the best one, and whether the run ends when none better comes.
      on_checkpoint: called when one is written, by a thread; raises nothing.

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
        rate_shares: Callable[[keras.Model], Sequence[float]] | None = None,
        selection: Selection = Selection(),  # noqa: B008
        on_checkpoint: Callable[[], None] = lambda: None,
    ):
        pieces = strategy.num_replicas_in_sync * train.microbatches
        if train.global_batch_size % pieces:
            raise InputError(
                f"train.global_batch_size={train.global_batch_size}: expected a multiple of replicas x microbatches = "
                f"{strategy.num_replicas_in_sync} x {train.microbatches}."
            )
        self._train, self._strategy, self._workdir, self._worker = train, strategy, workdir, worker
        self._selection = selection
        keras.utils.set_random_seed(train.seed)
        self._device_loop = DeviceLoop(
            model_fn, train=train, optimizer_config=optimizer_config, rate_shares=rate_shares, strategy=strategy
        )
        self.model, self._names = self._device_loop.model, self._device_loop.names
        self._checkpoints = Checkpoints(
            workdir,
            # Without the model's own name, which Keras counts up in a process.
            names=[variable.path.partition("/")[2] for variable in self.model.trainable_variables],
            weights=self._device_loop.weights,
            slots=self._device_loop.slots,
            keep=train.keep_checkpoints,
            is_writer=worker.is_chief,
            on_saved=on_checkpoint,
        )
        self._evaluator = Evaluator(self.model, strategy, selection)

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
        if (step == config.steps or self._is_over(step)) and not state.owes_evaluation:
            if batches.validation is None:
                return {}
            with self._explained("the last evaluation", batches.validation_damage):
                found = self._evaluator.evaluate(batches.validation, lambda: stop.received)
            if found is None:
                raise Preempted(f"SIGTERM: step {step} of {config.steps} was saved. Give the same command to go on.")
            return found
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
            self._checkpoints.save_if_best(now(), self._selection.cost(evaluated))

        def now() -> State:
            return State(step, state.skipped, np.concatenate(window) if window else None)

        def save_and_stop(*, owes_evaluation: bool = False) -> NoReturn:
            self._checkpoints.save(now()._replace(owes_evaluation=owes_evaluation))
            self._checkpoints.wait()
            raise Preempted(f"SIGTERM: step {step} of {config.steps} is saved. Give the same command to go on.")

        window = [] if state.pending is None else [state.pending]
        if step == 0 or state.owes_evaluation:
            evaluate()
            if step == config.steps or self._is_over(step):
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
                    functools.partial(batches.damage, first_batch, count + 1),
                ),
            ):
                sums = self._device_loop.run(iterator, step, count, is_stopped=stop.received)
            rate.add(count * config.global_batch_size, sums[:, self._names.index(TOKENS), 0].sum(), count, began)
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
            is_over = step == config.steps or (step % config.evaluate_every == 0 and self._is_over(step))
            if step % config.checkpoint_every == 0 or is_over:
                self._checkpoints.save(now())
            if is_over:
                break
            # With others, told by a sum over all of them, hence at the same step for all, which may take a loop more.
            is_told = stop.received if worker.count == 1 else sums[-1, self._names.index(STOP), 0] > 0
            if is_told:
                save_and_stop()
        self._checkpoints.wait()
        return evaluated

    def restore_best(self) -> int | None:
        """Gives the model the weights of the best evaluation and returns its step; None if there was none."""
        return self._checkpoints.restore_best()

    def _is_over(self, step: int) -> bool:
        """Whether so many evaluations were not better than the best that the run ends before its last step."""
        patience, best = self._selection.patience, self._checkpoints.best_step
        if patience is None or best is None:
            return False
        interval = self._train.evaluate_every
        if step - best < patience * interval:
            return False
        if self._worker.is_chief:
            print(f"no {self._selection.metric} better than that of step {best}: the run ends at {step}", flush=True)
        return True

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
        unused = (TOKENS, STOP) if self._train.precision == "mixed_float16" else (TOKENS, STOP, "loss_scale")
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
