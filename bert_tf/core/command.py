"""What every main shares: flags, errors in one sentence, exit codes."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from bert_tf.core.errors import InputError, Preempted

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


flags.disclaim_key_flags()  # what is defined here is listed by --help of the main that asks for it


def define_config_flags() -> None:
    """Defines --config, --set and --workdir, which pretrain and finetune share."""
    flags.DEFINE_string("config", None, "Python file with get_config(), such as configs/pretrain_tiny.py.")
    flags.DEFINE_multi_string(
        "set", [], "Overrides one field of the config: --set section.field=value. May be repeated."
    )
    flags.DEFINE_string(
        "workdir", None, "Folder for config.json, checkpoints, metrics.jsonl, events and the final model."
    )
    flags.mark_flags_as_required(["config", "workdir"])


def set_environment() -> None:
    """What TensorFlow is to know before it is imported, which mains do late."""
    # Without a GPU even its start-up errors are about GPUs.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if os.path.exists("/dev/nvidia0") else "3")
    # By itself it uses oneDNN on some processors only; on others its matrix products are a third slower without.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def run(
    main: Callable[[list[str]], None],
    *,
    pass_unknown: bool = False,
    resumable: bool = False,
    takes_arguments: bool = False,
) -> None:
    """Parses flags, calls `main(remaining_arguments)` and turns an InputError into one line and exit code 1.

    A run that was preempted ends with one line and exit code 75: the same command takes it up.

    Args:
      main: receives what stands behind the flags, without the program's name.
      pass_unknown: hand unknown flags to `main` (for Beam's own options) instead of refusing them.
      resumable: the same command goes on from what is saved, so SIGTERM ends it with code 75 at once, unless `main`
        takes the signal itself.
      takes_arguments: what stands behind the flags is no error.
    """
    if resumable:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(TRY_AGAIN))
    set_environment()
    logging.set_verbosity(logging.WARNING)

    def guarded(argv: list[str]) -> None:
        try:
            if not (pass_unknown or takes_arguments) and argv[1:]:
                raise InputError(f"Expected flags only. Received the argument: {argv[1]!r}.")
            main(argv[1:])
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of our output, such as head, has enough; what is still buffered has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except KeyboardInterrupt:
            fail("interrupted. Give the same command to go on.", code=130)
        except Preempted as sentence:
            print(f"stopped: {sentence}", file=sys.stderr, flush=True)
            sys.stdout.flush()
            # Not sys.exit: with another worker gone, TensorFlow's own shutdown waits for it.
            os._exit(TRY_AGAIN)
        except InputError as error:
            fail(str(error))

    def parse(argv: Sequence[str]) -> list[str]:
        if {"--help", "-h", "--helpfull", "--helpshort"} & set(argv):
            return app.parse_flags_with_usage(list(argv))
        try:
            return flags.FLAGS(list(argv), known_only=pass_unknown)
        except flags.Error as error:
            fail(" ".join(str(error).split()))

    app.run(guarded, flags_parser=parse)


def fail(sentence: str, *, code: int = 1) -> NoReturn:
    """Prints one sentence to standard error and leaves the program."""
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(code)
