"""TensorFlow's errors that end a run before its last step, each as one sentence that says what to do."""

import contextlib
import re
from collections.abc import Callable, Iterator

import tensorflow as tf

from bert_tf.core import errors
from bert_tf.core.config import TrainConfig
from bert_tf.core.errors import InputError, Preempted, reason_of
from bert_tf.training.worker import Worker

_OUT_OF_MEMORY = re.compile(r"out of memory|OOM when allocating|exceeds? .*memory|RESOURCE_EXHAUSTED", re.IGNORECASE)
_PEER_LOST = re.compile(r"connect|unavailable|peer|socket|heartbeat|abort|cancel", re.IGNORECASE)


@contextlib.contextmanager
def explained(place: str, damage: Callable[[], str | None], train: TrainConfig, worker: Worker) -> Iterator[None]:
    """Turns TensorFlow's errors into sentences.

    Args:
      place: where in the run they come, such as "steps 3 to 5".
      damage: what is wrong with the files that are read there, None if nothing is found.
      train: to say what may be changed.
      worker: whether there are others that may be gone.

    Raises:
      InputError: unreadable data, or too little memory.
      Preempted: another worker is gone.
    """
    try:
        with _decoded():
            yield
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(_memory_sentence(error, train)) from None
    except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        reason = damage()
        if reason is None and isinstance(error, tf.errors.InvalidArgumentError):
            raise
        reason = reason or reason_of(error)
        raise InputError(f"{place}: expected readable data. Received: {reason}.") from None
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    ) as error:
        if _OUT_OF_MEMORY.search(error.message):
            raise InputError(_memory_sentence(error, train)) from None
        if worker.count == 1 or not _PEER_LOST.search(error.message):
            raise
        reason = next(line.strip() for line in error.message.splitlines() if _PEER_LOST.search(line))
        raise Preempted(
            f"{place}: another worker is gone ({reason[:200]}). Start all workers again with the same command; they "
            "go on from the last checkpoint."
        ) from None


@contextlib.contextmanager
def _decoded() -> Iterator[None]:
    """Raises an error of this project that TensorFlow passed on as text, as it was."""
    try:
        yield
    except tf.errors.OpError as error:
        found = errors.decode(error.message)
        if found is None:
            raise
        raise found from None


def _memory_sentence(error: tf.errors.OpError, train: TrainConfig) -> str:
    change = f"train.microbatches (now {train.microbatches}) to a larger number, which gives the same steps"
    if train.precision == "float32":
        change += ", train.precision to mixed_bfloat16"
    return (
        f"train.global_batch_size={train.global_batch_size}: expected a step that fits into the device's memory. "
        f"Received: {reason_of(error)[:300]}. Set {change}, or take a shorter data.max_seq_length."
    )
