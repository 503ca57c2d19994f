"""The exceptions whose messages are for the user, not for a programmer; and their form as text between processes."""

import json


class InputError(ValueError):
    """Wrong use: one sentence that names the place, what was expected and what was received.

    `bert_tf.core.command.run` prints the sentence and exits with code 1, without a traceback.
    """


class StorageError(InputError):
    """A file cannot be written or read back. The input may be fine, and the same command may continue later."""


class Preempted(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop and has saved its state: nothing is wrong.

    `bert_tf.core.command.run` prints the sentence and exits with code 75, which tells a supervisor to start it again.
    """


def require(condition: bool, rule: str, received) -> None:
    """Raises InputError with the rule and the value unless the condition holds."""
    if not condition:
        raise InputError(f"{rule}. Received: {received}.")


_KINDS = {kind.__name__: kind for kind in (InputError, StorageError)}
_MARK = "bert_tf error: "


def encode(error: InputError) -> str:
    """The error as a mark and one line of JSON, for a process that other software reports on as text.

    >>> decode(f"Traceback ... {encode(InputError('a sentence'))} [while running a step]")
    InputError('a sentence')
    """
    kind = next(name for name in reversed(_KINDS) if isinstance(error, _KINDS[name]))
    return _MARK + json.dumps({"kind": kind, "sentence": str(error)})


def decode(text: str) -> InputError | None:
    """The error that `encode` put somewhere into a text, or None if there is none."""
    for rest in text.split(_MARK)[1:]:
        try:
            found, _ = json.JSONDecoder().raw_decode(rest)
            return _KINDS[found["kind"]](found["sentence"])
        except (ValueError, KeyError, TypeError):
            continue
    return None
