"""A worker process of Beam's local runner that writes to standard error only what ends it.

Beam's own worker writes some thirty lines about its channels, and FnApiRunner (Beam 2.77) gives it no options that
could stop them. An error of a step is logged, printed and sent to the launcher; the launcher's copy is enough.
"""

import contextlib
import logging
import os
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once; the launcher reports the interruption
    handler = logging.StreamHandler()
    handler.setLevel(logging.CRITICAL)  # the handler's level: Beam's worker sets the root logger's
    logging.basicConfig(handlers=[handler])

    from apache_beam.runners.worker import sdk_worker_main

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        sdk_worker_main.main(sys.argv)
