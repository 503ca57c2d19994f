"""Requests that wait together run together: one call of the model for many small batches."""

import concurrent.futures
import dataclasses
import re
import threading
import time

import grpc
import numpy as np

from bert_tf.core.errors import InputError, require
from bert_tf.serving.server.request_error import RequestError, invalid
from bert_tf.serving.server.version import Arrays, Version

_MOST_ROWS = 256  # of a request where requests are not batched: a small body could ask for all the memory there is
_MOST_STRINGS = 4096  # likewise, of all rows


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

    @property
    def rows(self) -> int:
        """Of the batch dimension; 1 where an input has none."""
        return min((len(value) if value.ndim else 1 for value in self.inputs.values()), default=1)

    def goes_with(self, other: "_Waiting") -> bool:
        """Whether both can be one call: the same function, and inputs alike but for their number."""
        return (
            self.version is other.version
            and self.signature == other.signature
            and bool(self.inputs)
            and all(x.ndim and self.inputs[name].shape[1:] == x.shape[1:] for name, x in other.inputs.items())
        )


@dataclasses.dataclass(eq=False)
class _Batch:
    """Requests that will run together once there are enough of them, or at the deadline."""

    requests: list[_Waiting]
    deadline: float

    @property
    def rows(self) -> int:
        return sum(request.rows for request in self.requests)


class Runner:
    """Runs requests, several at a time.

    Args:
      config: how they wait for one another; None: each by itself.
      threads: calls at a time where they do not wait.
    """

    def __init__(self, config: BatchingConfig | None, threads: int = 4):
        # As in TF Serving, a request must fit into a batch where there are batches.
        self._most_rows = config.max_batch_size if config else _MOST_ROWS
        self._config = config or BatchingConfig(max_batch_size=1, batch_timeout_micros=0, num_batch_threads=threads)
        self._batches: list[_Batch] = []
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
        fitting = version.fitting(signature, inputs)
        request = _Waiting(version, signature, fitting, concurrent.futures.Future())
        if request.rows > self._most_rows:
            raise invalid(f"expected at most {self._most_rows} rows, received {request.rows}")
        # Each string becomes a row of the model, and a row may hold several, such as choices.
        strings = max((value.size for value in fitting.values() if value.dtype == object), default=0)
        if strings > _MOST_STRINGS:
            raise invalid(f"expected at most {_MOST_STRINGS} strings, received {strings}")
        self._add(request)
        try:
            return request.future.result(timeout)
        except concurrent.futures.TimeoutError:
            self._remove(request)
            raise RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer within {timeout:g} s") from None

    def stop(self) -> None:
        """Answers those that wait, then ends."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _add(self, request: _Waiting) -> None:
        with self._changed:
            waiting = sum(len(batch.requests) for batch in self._batches)
            if self._stopped or waiting >= self._config.max_enqueued:
                what = "the server stops" if self._stopped else f"requests that wait already: {waiting}"
                raise RequestError(grpc.StatusCode.UNAVAILABLE, what)
            for batch in self._batches:
                fits = batch.rows + request.rows <= self._config.max_batch_size
                if fits and batch.requests[0].goes_with(request):
                    batch.requests.append(request)
                    break
            else:
                deadline = time.monotonic() + self._config.batch_timeout_micros / 1e6
                self._batches.append(_Batch([request], deadline))
            self._changed.notify_all()

    def _remove(self, request: _Waiting) -> None:
        """A request that nobody waits for any more; one that runs already runs to its end."""
        with self._changed:
            for batch in self._batches:
                if request in batch.requests:
                    batch.requests.remove(request)
                    if not batch.requests:
                        self._batches.remove(batch)
                    return

    def _work(self) -> None:
        while batch := self._take():
            _answer(batch)

    def _take(self) -> list[_Waiting]:
        """The requests of the next batch that is full or has waited long enough; [] once there will be none."""
        with self._changed:
            while True:
                now = time.monotonic()
                for batch in self._batches:
                    if self._stopped or batch.deadline <= now or batch.rows >= self._config.max_batch_size:
                        self._batches.remove(batch)
                        return batch.requests
                if self._stopped:
                    return []
                first = min((batch.deadline for batch in self._batches), default=None)
                self._changed.wait(None if first is None else first - now)


def _answer(requests: list[_Waiting]) -> None:
    """Gives every request its outputs or its error."""
    first = requests[0]
    # A request must never take a thread of the server down, nor those that it was batched with.
    try:
        if len(requests) == 1:
            first.future.set_result(first.version.run(first.signature, first.inputs))
            return
        joined = {name: np.concatenate([request.inputs[name] for request in requests]) for name in first.inputs}
        parts = _split(first.version.run(first.signature, joined), [request.rows for request in requests])
    except Exception as error:
        if len(requests) > 1:
            for request in requests:
                _answer([request])
            return
        told = f"{type(error).__name__}: {error}"
        known = error if isinstance(error, RequestError) else RequestError(grpc.StatusCode.INTERNAL, told)
        first.future.set_exception(known)
        return
    for request, part in zip(requests, parts, strict=True):
        request.future.set_result(part)


def _split(outputs: Arrays, rows: list[int]) -> list[Arrays]:
    """The outputs of several requests that ran as one.

    Raises:
      ValueError: an output that has not one row for each of theirs.
    """
    if any(value.ndim == 0 or len(value) != sum(rows) for value in outputs.values()):
        raise ValueError("expected outputs with a row for each of the inputs'")
    ends = np.cumsum(rows)
    return [{name: value[end - n : end] for name, value in outputs.items()} for n, end in zip(rows, ends, strict=True)]
