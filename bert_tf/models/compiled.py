"""Whether a network is traced for XLA, for which other forms of the same arithmetic are faster."""

import contextlib
import contextvars
from collections.abc import Iterator

_is_compiled: contextvars.ContextVar[bool] = contextvars.ContextVar("is_compiled", default=False)


@contextlib.contextmanager
def compiled() -> Iterator[None]:
    """What is traced meanwhile is compiled by XLA.

    The same is computed, to rounding, but for what dropout draws.
    """
    token = _is_compiled.set(True)
    try:
        yield
    finally:
        _is_compiled.reset(token)


def is_compiled() -> bool:
    return _is_compiled.get()
