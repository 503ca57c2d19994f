"""Keeps the local runner's worker processes from telling every channel they open.

FnApiRunner does not hand its options to worker processes (Beam 2.77), so no logging option reaches them, and each
writes some thirty lines to standard error. What a worker raises comes back through Beam and is not affected.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator

_HEADER = re.compile(rb"^[A-Z]+:[\w.]+:|^[IWEF]\d{4} |^  \d+ s: ")
_NOISE = re.compile(rb"^(INFO|WARNING|ERROR):(apache_beam[\w.]*|__main__|root):|^[IWE]\d{4} .*local_job_service\.py")


@contextlib.contextmanager
def quiet_workers() -> Iterator[None]:
    """Filters Beam's own log records out of this process's and its children's standard error."""
    saved = os.dup(2)
    read_end, write_end = os.pipe()
    os.dup2(write_end, 2)
    os.close(write_end)

    def forward():
        dropping = False  # a noisy record goes on until the next one begins
        with os.fdopen(read_end, "rb") as lines:
            for line in lines:
                dropping = bool(_NOISE.match(line)) or (dropping and not _HEADER.match(line))
                if not dropping:
                    os.write(saved, line)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(saved, 2)
        thread.join(timeout=5)  # ends when the last worker has closed its copy
