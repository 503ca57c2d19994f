"""The training loop: steps on the engine, evaluations, checkpoints, metrics."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import keras
import numpy as np

from bert_tf.core import skipped_batches
from bert_tf.core.config import TrainConfig
from bert_tf.core.errors import InputError, Preempted
from bert_tf.objectives.objective import Objective
from bert_tf.training import faults, throughput
from bert_tf.training.data.batches import Batches
from bert_tf.training.engines.engine import Engine, Training
from bert_tf.training.evaluation import Selection, evaluate, means
from bert_tf.training.faults import Fault
from bert_tf.training.stop_request import StopRequest
from bert_tf.training.workdir.checkpoints import Checkpoints, State
from bert_tf.training.workdir.monitoring import Monitor

_REWINDS_AT_MOST = 10  # in one process; a run that meets more is not helped by skipping batches


@dataclasses.dataclass
class _Position:
    """Where a run is.

    Attributes:
      step: optimizer steps done.
      skipped: batches left out, see State.
      window: metrics of the steps that are not logged yet.
      evaluation: metrics of the last evaluation; None if there was none yet.
    """

    step: int
    skipped: int
    window: list[np.ndarray]
    evaluation: dict[str, float] | None = None

    @property
    def batch(self) -> int:
        """Number of the next batch."""
        return self.step + self.skipped

    def state(self, *, owes_evaluation: bool = False) -> State:
        return State(self.step, self.skipped, np.concatenate(self.window) if self.window else None, owes_evaluation)


class Trainer:
    """Trains a model on an engine, in a workdir.

    Args:
      engine: started.
      make_model: makes the built model; called once, after the seed is set.
      objective: what the model learns.
      train: how the run goes.
      training: the optimizer.
      workdir: for checkpoints and metrics; the same folder for all workers.
      selection: which evaluation is the best one, and whether the run ends when none better comes.
      on_checkpoint: called when one is written, by a thread; raises nothing.

    Raises:
      InputError: the global batch does not divide into replicas and microbatches.
    """

    def __init__(
        self,
        engine: Engine,
        make_model: Callable[[], keras.Model],
        objective: Objective,
        *,
        train: TrainConfig,
        training: Training,
        workdir: str,
        selection: Selection = Selection(),  # noqa: B008 - it is immutable
        on_checkpoint: Callable[[], None] = lambda: None,
    ):
        self._engine, self._objective, self._train, self._workdir = engine, objective, train, workdir
        self._is_chief, self._selection = engine.worker.is_chief, selection
        if train.global_batch_size % (engine.replicas * train.microbatches):
            raise InputError(
                f"train.global_batch_size={train.global_batch_size}: expected a multiple of replicas x microbatches = "
                f"{engine.replicas} x {train.microbatches}."
            )
        keras.utils.set_random_seed(train.seed)
        self.model = engine.place(make_model, objective, training)
        self._checkpoints = Checkpoints(
            workdir, engine, keep=train.keep_checkpoints, is_writer=self._is_chief, on_saved=on_checkpoint
        )

    def fit(self, batches: Batches) -> dict[str, float]:
        """Runs from the latest checkpoint to the last step.

        Returns:
          The last evaluation's metrics, empty without validation.

        Raises:
          InputError: a NaN or infinite loss, unreadable data, a step that does not fit into memory, a full disk.
            What was saved before stays.
          Preempted: SIGTERM came, and where the run is was saved; or another worker is gone.
        """
        state = self._restored()
        with self._engine.explained("the start"):
            self._check_same_step(state.step)
        with StopRequest() as self._stop:
            try:
                now = self._train_with_rewinds(state, batches)
                if now.evaluation is None:  # the run was finished before
                    now.evaluation = self._evaluation(now, "the last evaluation", batches)
            except Preempted:
                self._checkpoints.wait()  # the process ends without waiting for its threads
                raise
            self._checkpoints.wait()
        return now.evaluation

    def check_growth(self, before: int) -> None:
        """Refuses more steps for a run that early stopping ended. All workers call it, before one writes the config.

        Args:
          before: train.steps of the run so far.

        Raises:
          InputError: the run ended early.
        """
        with self._engine.explained("the start"):
            self._wait_for_all()
        if self._train.steps <= before:
            return
        state, best = self._restored(), self._checkpoints.best_step
        if state.step and not state.owes_evaluation and self._is_last(state.step):
            raise InputError(
                f"--workdir {self._workdir}: expected a run that can go on to step {self._train.steps}. Received one "
                f"that tuning.early_stopping={self._selection.patience} ended at step {state.step}, because no "
                f"{self._selection.metric} was better than that of step {best}. Take another --workdir."
            )

    def _restored(self) -> State:
        state = self._checkpoints.restore()
        if self._checkpoints.best_step == 0 and not self._selection.counts_start:
            self._checkpoints.forget_best()  # an older version kept it
        return state

    def restore_best(self) -> int | None:
        """Gives the model the weights of the best evaluation and returns its step; None if there was none."""
        return self._checkpoints.restore_best()

    def _train_with_rewinds(self, state: State, batches: Batches) -> _Position:
        for rewinds in range(_REWINDS_AT_MOST + 1):
            now = self._begin(state)
            fault = self._train_from(now, state.owes_evaluation, batches)
            if fault is None:
                break
            state = self._rewound(fault, state, batches, rewinds)
        return now

    def _begin(self, state: State) -> _Position:
        """Where a checkpoint was written, with a monitor that goes on from there."""
        names = self._engine.metrics
        pending = state.pending
        if pending is not None and pending.shape[1] == len(names) + 2:
            # Version 0.1 kept the numbers of tokens and of stops between the objective's metrics and the optimizer's.
            pending = np.delete(pending, np.arange(2) + len(self._objective.metrics), axis=1)
        if pending is not None and pending.shape[1] != len(names):
            # Of data without pairs it kept metrics of pairs too.
            if self._is_chief:
                print(f"metrics of {len(pending)} steps that version 0.1 had not logged yet are left out", flush=True)
            pending = None
        if state.step and self._is_chief:
            print(f"resuming at step {state.step} of {self._train.steps}", flush=True)
        self._monitor = None
        if self._is_chief:
            skipped_batches.note(self._workdir, state.step, state.skipped)
        if self._is_chief and (state.owes_evaluation or not self._is_last(state.step)):
            self._monitor = Monitor(
                self._workdir,
                start_step=state.step,
                total_steps=self._train.steps,
                owes_evaluation=state.owes_evaluation,
            )
        return _Position(state.step, state.skipped, [] if pending is None else [pending])

    def _train_from(self, now: _Position, owes_evaluation: bool, batches: Batches) -> Fault | None:
        """Runs to the last step, or to a step with a NaN or infinite loss or gradient, which is returned."""
        config = self._train
        if now.step == 0 or owes_evaluation:
            self._evaluate(now, batches)
        if self._is_last(now.step):
            self._report_early_end(now.step)
            if now.step == 0 or owes_evaluation:
                self._checkpoints.save(now.state())
            return None
        stream, shapes = self._engine.open(lambda worker: batches.training(now.batch, worker))
        self._rate = throughput.Rate(self._full_speeds(shapes) if self._is_chief else {})
        for count in self._loops(now.step):
            fault, is_stopped = self._run_steps(now, stream, count, batches)
            if fault is not None:
                return fault
            if now.step % config.log_every == 0 or now.step == config.steps:
                self._log_window(now, batches)
            is_evaluated = now.step % config.evaluate_every == 0 or now.step == config.steps
            if is_evaluated:
                self._evaluate(now, batches)
            is_last = is_evaluated and self._is_last(now.step)
            if now.step % config.checkpoint_every == 0 or is_last:
                self._checkpoints.save(now.state())
            if is_last:
                self._report_early_end(now.step)
                return None
            if is_stopped:
                self._save_and_stop(now)
        return None

    def _report_early_end(self, step: int) -> None:
        if self._is_chief and step < self._train.steps:
            better = f"no {self._selection.metric} better than that of step {self._checkpoints.best_step}"
            print(f"{better}: the run ends here, at step {step} of {self._train.steps}", flush=True)

    def _run_steps(self, now: _Position, stream, count: int, batches: Batches) -> tuple[Fault | None, bool]:
        """Some steps at once: what is wrong with one of them, and whether the run was asked to stop."""
        began, first, first_batch = time.monotonic(), now.step, now.batch
        # The batch behind them is read ahead.
        place = f"steps {first} to {first + count}"
        with (
            self._profiled(first),
            self._engine.explained(place, lambda: batches.damage(first_batch, count + 1)),
        ):
            steps = self._engine.run(stream, first, count, is_stopped=self._stop.received)
        self._rate.add(count * self._train.global_batch_size, steps.tokens.sum(), count, began)
        fault = faults.first_fault(
            self._engine.metrics,
            steps.metrics,
            first,
            losses=self._objective.losses,
            scaled=self._train.precision == "mixed_float16",
        )
        if fault is None:
            now.window.append(steps.metrics)
            now.step += count
        # Of several workers all must stop after the same step: they know by the sum, which may take a loop more.
        return fault, self._stop.received if self._engine.worker.count == 1 else steps.stops[-1] > 0

    def _evaluate(self, now: _Position, batches: Batches) -> None:
        """Evaluates, logs it and keeps the weights if they are the best."""
        now.evaluation = self._evaluation(now, f"the evaluation at step {now.step}", batches, owes_evaluation=True)
        if batches.validation is not None:
            self._log("validation", now.step, now.evaluation)
            cost = self._selection.cost(now.evaluation)
            if now.step or self._selection.counts_start:
                self._checkpoints.save_if_best(now.state(), cost)

    def _evaluation(
        self, now: _Position, place: str, batches: Batches, *, owes_evaluation: bool = False
    ) -> dict[str, float]:
        """The metrics of the validation data, {} without; stops the run if it is asked to meanwhile."""
        if batches.validation is None:
            return {}
        with self._engine.explained(place, batches.validation_damage):
            found = evaluate(
                self._engine, self._objective, batches.validation, self._selection.score, lambda: self._stop.received
            )
        if found is None:
            self._save_and_stop(now, owes_evaluation=owes_evaluation)
        return found

    def _save_and_stop(self, now: _Position, *, owes_evaluation: bool = False) -> NoReturn:
        self._checkpoints.save(now.state(owes_evaluation=owes_evaluation))
        self._checkpoints.wait()
        raise Preempted(f"SIGTERM: step {now.step} of {self._train.steps} is saved. Give the same command to go on.")

    def _rewound(self, fault: Fault, state: State, batches: Batches, rewinds: int) -> State:
        """The checkpoint to go on from after a fault; the batches from there to the fault are skipped.

        Raises:
          InputError: the config says stop, or it happened too often, or there is no checkpoint.
        """
        batch = fault.step + state.skipped
        sentence = (
            f"step {fault.step}: expected finite losses and gradients. Received {fault.found}, from batch {batch} "
            f"({batches.sources(batch, 1)})."
        )
        if self._train.on_nonfinite == "stop" or rewinds == _REWINDS_AT_MOST:
            raise InputError(f"{sentence} {self._advice(rewinds)}")
        try:
            with self._engine.explained(f"going back from step {fault.step}"):
                back = self._checkpoints.rewind(self._train.rewind_checkpoints, self._wait_for_all)
        except InputError as error:
            raise InputError(f"{sentence} {error}") from None
        # The step that comes next takes the batch behind the faulty one.
        skipped = batch + 1 - back.step
        if self._is_chief:
            print(
                f"{sentence} Going back to step {back.step}; {skipped - back.skipped} batches are skipped.", flush=True
            )
        return back._replace(skipped=skipped)

    def _advice(self, rewinds: int) -> str:
        if rewinds:
            return f"It is the {rewinds + 1}th time in this process, so skipping batches does not help."
        return (
            "Give the same command with train.on_nonfinite=rewind to go back and skip such batches, or begin anew with "
            "a lower optimizer.learning_rate."
        )

    def _is_last(self, step: int) -> bool:
        """Whether the run ends here: its last step, or enough evaluations that were not better than the best."""
        patience, best = self._selection.patience, self._checkpoints.best_step
        interval = self._train.evaluate_every
        if step == self._train.steps:
            return True
        return patience is not None and best is not None and step - best >= patience * interval and not step % interval

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

    def _log_window(self, now: _Position, batches: Batches) -> None:
        history = np.concatenate(now.window)
        # A gradient that overflowed in float16 was left out of the weights, and is left out here.
        history = np.where(np.isfinite(history[..., :1]), history, 0.0)
        found = means(self._objective, self._engine.metrics, history.sum(axis=0, dtype=np.float64))
        if self._train.precision != "mixed_float16":
            del found["loss_scale"]
        self._log("train", now.step, {**found, **batches.progress(now.batch), **self._rate.take()})
        now.window.clear()

    def _log(self, split: str, step: int, metrics: dict[str, float]) -> None:
        if self._monitor is not None:
            self._monitor.write(step, split, metrics)
            self._monitor.show(step, split, metrics)

    def _profiled(self, step: int):
        """A profile of steps that lie in train.profile_steps; one that several loops make up is one of each loop."""
        first, last = self._train.profile_steps or (0, 0)
        if self._monitor is None or not first <= step + 1 <= last:
            return contextlib.nullcontext()
        return self._engine.profiled(self._monitor.events_folder)

    def _full_speeds(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, float]:
        """{metric: how many steps a second there would be, were they matrix products at a device's full speed}."""
        flops = throughput.step_flops(self.model.forward_flops(shapes))
        return {name: speed / flops for name, speed in self._engine.speeds(self.model.compute_dtype).items()}

    def _wait_for_all(self) -> None:
        if self._engine.worker.count > 1:
            self._engine.sum_over_workers([1])

    def _check_same_step(self, step: int) -> None:
        """Workers that see different checkpoints do not share their workdir."""
        if self._engine.worker.count == 1:
            return
        replicas, (total, squares) = self._engine.replicas, self._engine.sum_over_workers([step, step * step])
        if total != replicas * step or squares != replicas * step * step:
            raise InputError(
                f"--workdir {self._workdir}: expected one folder that all workers see, so that all resume at the same "
                f"step. Received step {step} here and another one elsewhere."
            )
