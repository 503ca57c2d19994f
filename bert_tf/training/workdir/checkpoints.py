"""Checkpoints of a run: one safetensors file each, written beside the training and renamed when it is whole.

A file holds the engine's state (weights, the optimizer's moments, loss scale) and the metrics of the steps that no line
of metrics.jsonl reports yet; its metadata hold the step and how many batches were skipped. Where the run is in its data
and in its dropout follows from these two, so nothing else has to be kept. The best checkpoint holds weights only.
"""

import contextlib
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bert_tf.core import whole_file
from bert_tf.core.errors import InputError, StorageError

_NAME = re.compile(r"step-(\d{10})\.safetensors")
_BEST = "best.safetensors"
_PENDING = "pending_metrics"
_WRITE_ERRORS = (OSError, SafetensorError, StorageError)
_READ_ERRORS = (OSError, SafetensorError, KeyError, TypeError)


class Stateful(Protocol):
    """What is saved: an engine."""

    def read_state(self) -> dict[str, np.ndarray]: ...
    def write_state(self, state: dict[str, np.ndarray]) -> None: ...
    def state_shapes(self) -> Mapping[str, tuple[int, ...]]: ...


class State(NamedTuple):
    """Where a run is, beside its weights and slots.

    Attributes:
      step: optimizer steps done.
      skipped: batches that were left out after a NaN or infinite loss or gradient.
      pending: float32 [steps, metrics, 2], metrics of the last steps that are not logged yet; None for none.
      owes_evaluation: the evaluation that is due at this step was given up.
    """

    step: int = 0
    skipped: int = 0
    pending: np.ndarray | None = None
    owes_evaluation: bool = False

    def metadata(self) -> dict[str, str]:
        """What is not a tensor, as safetensors takes it."""
        return {name: str(int(getattr(self, name))) for name in ("step", "skipped", "owes_evaluation")}


class Checkpoints:
    """The last few checkpoints of a workdir, and the best.

    Args:
      workdir: the files go into its folder `checkpoints`.
      engine: whose state is saved.
      keep: how many of the last ones stay.
      is_writer: one of several workers writes, all read the same folder.
      on_saved: called by the thread that writes, when a checkpoint is whole; raises nothing.
    """

    def __init__(
        self,
        workdir: str,
        engine: Stateful,
        *,
        keep: int,
        is_writer: bool = True,
        on_saved: Callable[[], None] = lambda: None,
    ):
        self._folder = os.path.join(workdir, "checkpoints")
        self._engine = engine
        self._keep, self._is_writer, self._on_saved = keep, is_writer, on_saved
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._best: float | None = None
        self.best_step: int | None = None  # of the best evaluation

    def steps(self) -> list[int]:
        """Steps of the checkpoints, ascending."""
        if not os.path.isdir(self._folder):
            return []
        names = (_NAME.fullmatch(name) for name in os.listdir(self._folder))
        return sorted(int(name.group(1)) for name in names if name)

    def restore(self) -> State:
        """Sets the engine to the latest checkpoint that can be read; State() if there is none."""
        if self._is_writer and os.path.isdir(self._folder):
            for name in os.listdir(self._folder):
                if name.endswith(".tmp"):  # of a process that was killed while writing
                    os.remove(os.path.join(self._folder, name))
        best, self._best, self.best_step = os.path.join(self._folder, _BEST), None, None
        if os.path.exists(best):
            try:
                metadata = _read(best, ())[1]
                self._best, self.best_step = float(metadata["loss"]), int(metadata["step"])
            except _READ_ERRORS as error:
                self._put_aside(best, error)
        for step in reversed(self.steps()):
            try:
                return self._restore(step)
            except _READ_ERRORS as error:
                self._put_aside(self._path(step), error)
        return State()

    def _put_aside(self, path: str, error: Exception) -> None:
        print(f"{path}: cannot be read ({error}); it is put aside as {os.path.basename(path)}.broken", flush=True)
        if self._is_writer:
            os.replace(path, path + ".broken")

    def rewind(self, count: int, barrier: Callable[[], None]) -> State:
        """Restores the `count`-th checkpoint from the end, 1 for the latest, and forgets those behind it.

        Of fewer it is the first, and of one that cannot be read the one before it.

        Args:
          barrier: returns when all workers have called it, so that all see the same files.

        Raises:
          InputError: there is none.
        """
        self.wait()
        barrier()
        steps = self.steps()
        barrier()
        for step in reversed(steps[: max(1, len(steps) - count + 1)]):
            try:
                state = self._restore(step)
            except _READ_ERRORS as error:
                self._put_aside(self._path(step), error)
                continue
            if self._is_writer:
                for newer in steps[steps.index(step) + 1 :]:
                    with contextlib.suppress(FileNotFoundError):  # it was put aside
                        os.remove(self._path(newer))
            return state
        raise InputError(f"{self._folder}: expected a checkpoint to go back to. Received none.")

    def _restore(self, step: int) -> State:
        path = self._path(step)
        tensors, metadata = _read(path, [*self._engine.state_shapes(), _PENDING])
        pending = tensors.pop(_PENDING, None)
        self._set(path, tensors, self._engine.state_shapes())
        return State(int(metadata["step"]), int(metadata["skipped"]), pending, bool(int(metadata["owes_evaluation"])))

    def save(self, state: State) -> None:
        """Copies everything now, and writes it while the training goes on. Raises what the last writing met."""
        self.wait()
        if self._is_writer:
            tensors = self._engine.read_state()
            if state.pending is not None and len(state.pending):
                tensors[_PENDING] = np.ascontiguousarray(state.pending)
            self._write_aside(self._path(state.step), tensors, state.metadata(), self._remove_old)

    def save_if_best(self, state: State, loss: float) -> None:
        """Keeps the weights as `best.safetensors` if no evaluation had a smaller loss, or whatever is to be small."""
        if math.isnan(loss) or (self._best is not None and loss >= self._best):
            return
        self._best, self.best_step = loss, state.step
        self.wait()
        if self._is_writer:
            weights = {name: x for name, x in self._engine.read_state().items() if _is_weight(name)}
            metadata = {**state.metadata(), "loss": repr(loss)}
            self._write_aside(os.path.join(self._folder, _BEST), weights, metadata, lambda: None)

    def forget_best(self) -> None:
        """From now on any evaluation is better. The file stays until the next one is written."""
        self._best, self.best_step = None, None

    def restore_best(self) -> int | None:
        """Sets the weights to the best ones and returns their step; None if no evaluation was ever good enough."""
        self.wait()
        path = os.path.join(self._folder, _BEST)
        if self.best_step is None or not os.path.exists(path):
            return None
        shapes = {name: shape for name, shape in self._engine.state_shapes().items() if _is_weight(name)}
        try:
            tensors, metadata = _read(path, shapes)
        except _READ_ERRORS as error:
            raise StorageError(
                f"{path}: expected the best checkpoint. Received one that cannot be read: {error}."
            ) from None
        self._set(path, tensors, shapes)
        return int(metadata["step"])

    def wait(self) -> None:
        """Returns when what was saved is on the disk.

        Raises:
          StorageError: it could not be written. The checkpoints before it are untouched.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write_aside(self, path: str, tensors: dict[str, np.ndarray], metadata: dict[str, str], then) -> None:
        def write():
            try:
                os.makedirs(self._folder, exist_ok=True)
                with whole_file.replacing_path(path) as temporary:
                    save_file(tensors, temporary, metadata)
                then()
                self._on_saved()
            except _WRITE_ERRORS as error:
                kept = self.steps()
                last = f"the one of step {kept[-1]} is kept" if kept else "there is none before it"
                cause = error.__cause__ or error  # whole_file's sentence is of the file, this one of the run
                self._error = StorageError(
                    f"{path}: expected to write a checkpoint of {sum(t.nbytes for t in tensors.values()) / 1e6:.0f} "
                    f"MB; {last}. Received: {getattr(cause, 'strerror', None) or cause}. Once it can be written, the "
                    "same command goes on."
                )

        # No daemon: a process that ends by an error of its own still finishes its file.
        self._thread = threading.Thread(target=write, name="checkpoint")
        self._thread.start()

    def _remove_old(self) -> None:
        for step in self.steps()[: -self._keep]:
            os.remove(self._path(step))

    def _path(self, step: int) -> str:
        return os.path.join(self._folder, f"step-{step:010d}.safetensors")

    def _set(self, path: str, tensors: dict[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            if name not in tensors:
                raise InputError(f"{path}: expected {name}. Received a checkpoint without it, of another model.")
            if tensors[name].shape != shape:
                raise InputError(f"{path}: {name}: expected shape {shape}. Received {tensors[name].shape}.")
        self._engine.write_state(tensors)


def _is_weight(name: str) -> bool:
    return name.startswith("weights/")


def _read(path: str, names: Iterable[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, framework="numpy") as file:
        present = set(file.keys())
        return {name: file.get_tensor(name) for name in names if name in present}, file.metadata()
