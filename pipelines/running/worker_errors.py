"""A worker's InputError or StorageError on its way to the launcher.

A runner reports a worker's exception as text, with words of its own around it. So a worker raises a WorkerError, whose
message holds the error as data, and the launcher decodes it. It is an exception and not an element, so that a runner
that retries failed bundles retries this one too.
"""

import contextlib
from collections.abc import Iterator

from bert_tf.core import errors


class WorkerError(Exception):
    """Its message is what `errors.encode` made of an InputError or a StorageError."""


@contextlib.contextmanager
def sent_to_launcher() -> Iterator[None]:
    """Around what a step does, or above its function as a decorator: `raised_in_launcher` raises it again."""
    try:
        yield
    except errors.InputError as error:
        raise WorkerError(errors.encode(error)) from None


@contextlib.contextmanager
def raised_in_launcher() -> Iterator[None]:
    """Around a pipeline that runs: raises the InputError or StorageError of a worker as the worker raised it."""
    try:
        yield
    except Exception as error:
        found = errors.decode(str(error))
        if found is None:
            raise
        raise found from None
