"""Requests that wait together run together: one call of the model for many small batches."""

import concurrent.futures
import dataclasses
import re
import threading
import time
from collections import deque

import grpc
import numpy as np

from bert_tf.errors import InputError, require
from bert_tf.serving.request_error import RequestError
from bert_tf.serving.version import Arrays, Version


@dataclasses.dataclass(frozen=True)
class BatchingConfig:
    """TF Serving's batching parameters, of those that a development server has a use for.

    Attributes:
      max_batch_size: rows of a call.
      batch_timeout_micros: how long the first request of a batch waits for others.
      num_batch_threads: calls at a time.
      max_enqueued: requests that may wait; one more is refused as unavailable.
    """

    max_batch_size: int = 32
    batch_timeout_micros: int = 1000
    num_batch_threads: int = 2
    max_enqueued: int = 1000

    def __post_init__(self):
        for name in ("max_batch_size", "num_batch_threads", "max_enqueued"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(self.batch_timeout_micros >= 0, "batch_timeout_micros must not be negative", self.batch_timeout_micros)


def read_config(path: str) -> BatchingConfig:
    """A --batching_parameters_file, in TF Serving's text format: `max_batch_size { value: 32 }`.

    Raises:
      InputError: it cannot be read, or holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"#.*", "", file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--batching_parameters_file {path}: expected a text file. Received: {error}.") from None
    found = {name: int(value) for name, value in re.findall(r"(\w+)\s*\{\s*value\s*:\s*(\d+)\s*\}", text)}
    rest = re.sub(r"\w+\s*\{\s*value\s*:\s*\d+\s*\}|pad_variable_length_inputs\s*:\s*\w+", "", text).strip()
    names = {field.name for field in dataclasses.fields(BatchingConfig)}
    # Theirs counts batches, and ours has no use for some more.
    others = {"max_enqueued_batches"}
    if rest or set(found) - names - others:
        strange = rest.splitlines()[0] if rest else ", ".join(sorted(set(found) - names - others))
        raise InputError(
            f"--batching_parameters_file {path}: expected {', '.join(sorted((names | others) - {'max_enqueued'}))}, "
            f"each {{ value: N }}. Received: {strange}."
        )
    batches = found.pop("max_enqueued_batches", None)
    config = BatchingConfig(**found)
    return config if batches is None else dataclasses.replace(config, max_enqueued=batches * config.max_batch_size)


@dataclasses.dataclass(eq=False)
class _Waiting:
    version: Version
    signature: str
    inputs: Arrays
    future: concurrent.futures.Future
    since: float

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))

    def goes_with(self, other: "_Waiting") -> bool:
        """Whether both can be one call: the same function, and inputs alike but for their number."""
        return (
            self.version is other.version
            and self.signature == other.signature
            and all(self.inputs[name].shape[1:] == value.shape[1:] for name, value in other.inputs.items())
        )


class Runner:
    """Runs requests, several at a time.

    Args:
      config: how they wait for one another; None: each by itself.
      threads: calls at a time where they do not wait.
    """

    def __init__(self, config: BatchingConfig | None, threads: int = 4):
        self._config = config or BatchingConfig(max_batch_size=1, batch_timeout_micros=0, num_batch_threads=threads)
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(self._config.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, version: Version, signature: str, inputs: Arrays, timeout: float | None) -> Arrays:
        """The outputs of a signature.

        Raises:
          RequestError: inputs that do not fit, too many requests, or no answer within `timeout` seconds.
        """
        request = _Waiting(
            version, signature, version.fitting(signature, inputs), concurrent.futures.Future(), time.monotonic()
        )
        with self._changed:
            if self._stopped or len(self._waiting) >= self._config.max_enqueued:
                what = "the server stops" if self._stopped else f"{len(self._waiting)} requests wait already"
                raise RequestError(grpc.StatusCode.UNAVAILABLE, what)
            self._waiting.append(request)
            self._changed.notify()
        try:
            return request.future.result(timeout)
        except concurrent.futures.TimeoutError:
            request.future.cancel()
            raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer within {timeout:g} s") from None

    def stop(self) -> None:
        """Answers those that wait, then ends."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            batch = [request for request in batch if request.future.set_running_or_notify_cancel()]
            if batch:
                _answer(batch)

    def _take(self) -> list[_Waiting]:
        """The next requests that go together; [] once there will be none."""
        with self._changed:
            while not self._waiting:
                if self._stopped:
                    return []
                self._changed.wait()
            first = self._waiting.popleft()
            batch, rows = [first], first.rows
            end = first.since + self._config.batch_timeout_micros / 1e6
            while rows < self._config.max_batch_size:
                for request in [r for r in self._waiting if r.goes_with(first)]:
                    if rows + request.rows <= self._config.max_batch_size:
                        self._waiting.remove(request)
                        batch.append(request)
                        rows += request.rows
                left = end - time.monotonic()
                if left <= 0 or self._stopped or not self._changed.wait(left):
                    break
            return batch


def _answer(batch: list[_Waiting]) -> None:
    first = batch[0]
    try:
        joined = {name: np.concatenate([request.inputs[name] for request in batch]) for name in first.inputs}
        outputs = first.version.run(first.signature, joined)
    # A request must never take a thread of the server down.
    except Exception as error:
        known = error if isinstance(error, RequestError) else None
        if known is not None and len(batch) > 1:
            for request in batch:  # one of them is to blame
                _answer([request])
            return
        told = known or RequestError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        for request in batch:
            request.future.set_exception(told)
        return
    begin = 0
    for request in batch:
        request.future.set_result({name: value[begin : begin + request.rows] for name, value in outputs.items()})
        begin += request.rows
