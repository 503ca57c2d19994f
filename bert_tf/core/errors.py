"""The exceptions whose messages are meant for the user, not for a programmer."""


class InputError(ValueError):
    """Wrong use: one sentence that names the place, what was expected and what came.

    `bert_tf.core.command.run` prints the sentence and exits with code 1, without a traceback.
    """


class StorageError(InputError):
    """A file that cannot be written or read back: nothing is wrong with the input, and the same command may go on."""


class Preempted(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop, and can be taken up where it was saved: nothing is wrong.

    `bert_tf.core.command.run` prints the sentence and exits with code 75, which tells a supervisor to start it again.
    """


def require(condition: bool, rule: str, received) -> None:
    """Raises InputError with the rule and the value unless the condition holds."""
    if not condition:
        raise InputError(f"{rule}. Received: {received}.")
