"""A Beam pipeline that runs quietly and ends with the worker's own error."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners import create_runner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipelines.running.job_servers import raised_by_job_server
from pipelines.running.worker_errors import raised_in_launcher


@contextlib.contextmanager
def running(options: PipelineOptions) -> Iterator[beam.Pipeline]:
    """A pipeline to fill, which runs when the block ends.

    Raises:
      InputError, StorageError: of a worker, with the sentence that the worker gave; or of an engine that failed.
      KeyboardInterrupt: SIGINT came; a runner may report it as an error of a worker.
    """
    with (
        _interruptible(),
        raised_by_job_server(options),
        raised_in_launcher(),
        beam.Pipeline(runner=_runner(options), options=options) as root,
    ):
        yield root


def _runner(options: PipelineOptions) -> PipelineRunner:
    name, direct = options.view_as(StandardOptions).runner, options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_processing" and name in ("FnApiRunner", "DirectRunner"):
        direct.direct_running_mode = None  # otherwise Beam chooses its own worker's command
        return FnApiRunner(
            SubprocessSDKEnvironment.from_command_string(f"{sys.executable} -m pipelines.running.worker")
        )
    return create_runner(name)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    interrupted = threading.Event()

    def interrupt(*_):
        interrupted.set()
        threading.excepthook = lambda _: None  # Beam's threads fail one by one as its workers end
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # someone else handles the signal, or it comes to another thread
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if interrupted.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
