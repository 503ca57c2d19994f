"""What a run reports: a progress line, metrics.jsonl, TensorBoard events."""

import json
import math
import os
import time

import tensorflow as tf

from bert_tf.core import whole_file
from bert_tf.core.errors import StorageError

_SHORT = {
    "learning_rate": "rate",
    "examples_per_second": "examples/s",
    "tokens_per_second": "tokens/s",
    "matmul_utilization": "utilization",
}
_NOT_SHOWN = ("gradient_norm",)


class Monitor:
    """Writes metrics of a run into its workdir.

    Args:
      workdir: holds metrics.jsonl and events/.
      start_step: where this process takes the run up. Lines of later steps, which a killed process wrote after its last
        checkpoint, are removed: they are about to be written again.
      total_steps: for the time left.
      owes_evaluation: the evaluation of start_step is about to be made, perhaps again.
    """

    def __init__(self, workdir: str, *, start_step: int, total_steps: int, owes_evaluation: bool = False):
        self._path = os.path.join(workdir, "metrics.jsonl")
        self._total_steps = total_steps
        self._started, self._start_step = time.monotonic(), start_step
        # From the start, not even the evaluation before the first step is kept: it is made again.
        _keep_lines(self._path, start_step if start_step else -1, drop_last_evaluation=owes_evaluation)
        self.events_folder = os.path.join(workdir, "events")
        self._events = tf.summary.create_file_writer(self.events_folder)

    def write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Appends one line and one set of scalars. `step`: optimizer steps done.

        Raises:
          StorageError: they cannot be written.
        """
        # Every bit of a float32, and nothing that is no JSON, such as an infinite perplexity.
        told = {name: float(f"{value:.9g}") for name, value in metrics.items() if math.isfinite(value)}
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "split": split, **told}) + "\n")
            with self._events.as_default(step=step):
                for name, value in metrics.items():
                    tf.summary.scalar(f"{split}/{name}", value)
            self._events.flush()
        except (OSError, tf.errors.OpError) as error:
            raise StorageError(
                f"{self._path}: expected to write the metrics of step {step}. Received: "
                f"{getattr(error, 'strerror', None) or error}. Once they can be written, the same command goes on from "
                "the last checkpoint."
            ) from None

    def show(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Prints one progress line."""
        parts = [f"step {step}/{self._total_steps}", f"{split:<10}"]
        parts += [f"{_SHORT.get(name, name)} {value:.4g}" for name, value in metrics.items() if name not in _NOT_SHOWN]
        done = step - self._start_step
        if split == "train" and done:
            left = (time.monotonic() - self._started) / done * (self._total_steps - step)
            parts.append(f"{_duration(left)} left")
        print("  ".join(parts), flush=True)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


def _keep_lines(path: str, last_step: int, *, drop_last_evaluation: bool) -> None:
    """Rewrites metrics.jsonl without lines after `last_step` and without a half-written one."""
    if not os.path.exists(path):
        return
    kept = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                told = json.loads(line)
                is_dropped = drop_last_evaluation and (told["step"], told["split"]) == (last_step, "validation")
                if told["step"] <= last_step and not is_dropped:
                    kept.append(line)
            except json.JSONDecodeError:
                continue
    with whole_file.replacing(path) as file:
        file.writelines(kept)
