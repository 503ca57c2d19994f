"""Runs a command and measures its time and the memory of its processes."""

import os
import subprocess
import sys
import tempfile
import time


def measure(*command: str) -> dict[str, float]:
    """Runs `python -m COMMAND`; returns its seconds and peak_gigabytes. Ends this process if the command fails.

    The memory is the resident one of all processes together; each counts the pages that they share.
    """
    began, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(0.2)
        if process.returncode:
            log.seek(0)
            sys.exit(log.read())
    return {"seconds": time.perf_counter() - began, "peak_gigabytes": peak / 1e9}


def _resident(session: int) -> int:
    """Bytes of resident memory of all processes of a session."""
    total = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.getsid(int(name)) == session:
                with open(f"/proc/{name}/statm", encoding="ascii") as file:
                    total += int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        except OSError:
            continue  # the process has ended
    return total
