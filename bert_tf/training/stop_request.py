"""SIGTERM, which announces the end of a preemptible machine, as a flag that the training loop looks at."""

import signal
import threading


class StopRequest:
    """While it is entered, SIGTERM sets `received` instead of ending the process."""

    def __init__(self):
        self.received = False

    def __enter__(self) -> "StopRequest":
        # Python takes signals in its main thread only; elsewhere the process ends as it always did.
        self._is_ours = threading.current_thread() is threading.main_thread()
        if self._is_ours:
            self._previous = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *_) -> None:
        if self._is_ours:
            signal.signal(signal.SIGTERM, self._previous)

    def _receive(self, *_) -> None:
        self.received = True
