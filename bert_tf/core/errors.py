"""The exceptions whose messages are for the user, not for a programmer; and their form as text between processes."""

import json
import re


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


# Lines of an exception that say where and not what: TensorFlow's, Keras', Python's tracebacks.
_ABOUT_PLACE = re.compile(
    r"(Graph execution error|Detected at node|in user code|Traceback \(most recent|<stack traces unavailable>"
    r"|\d+ root error|Original stack trace|Function call stack|Node: '|File \"|\[\[|Exception encountered when calling)"
)
_DECORATION = re.compile(r"\x1b\[[\d;]*m|\{\{function_node [^}]*\}\} ?|\s*\[Op:[^\]]*\]|\s*\[\[\{\{.*$|^\(\d\) ")


def reason_of(error: BaseException) -> str:
    """The line of an exception that says what is wrong, without a full stop; its class where it says nothing.

    TensorFlow and Keras put several lines about the place before it.

    >>> reason_of(ValueError("Graph execution error:\\n\\nDetected at node x\\nNo such key.\\n\\t [[{{node x}}]]"))
    'No such key'
    """
    text = getattr(error, "strerror", None) or str(error)
    frame: int | None = None  # indentation of a line of a traceback, which the line of code below exceeds
    for line in text.splitlines():
        line = re.sub(r"\x1b\[[\d;]*m", "", line).rstrip()
        content = line.strip()
        indentation = len(line) - len(line.lstrip())
        if frame is not None and indentation > frame:
            continue
        frame = indentation if content.startswith('File "') else None
        if content and not _ABOUT_PLACE.match(content):
            reason = _DECORATION.sub("", content).rstrip(". ")
            return f"KeyError: {reason}" if isinstance(error, KeyError) else reason
    return type(error).__name__


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
