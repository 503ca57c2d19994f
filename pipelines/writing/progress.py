"""Tells how far a job is by looking at its folder, which works for every runner."""

import re
import sys
import threading
import time

from apache_beam.io.filesystems import FileSystems

from bert_tf.core import records
from pipelines.writing import output_folder

_EXCHANGED = re.compile(r"[0-9a-f]{32}-(\d+)-(\d+)")


class Progress:
    """Prints a line whenever something has changed: documents read, where they travel through files, then shards.

    Args:
      output_dir: the job's folder.
      total: how many shards there will be.
      kept: how many of them an earlier job had finished.
      text_bytes: about how much text there is.
      passes: how often each document goes to a pool, on average.
      seconds: between two looks.
    """

    def __init__(
        self, output_dir: str, *, total: int, kept: int, text_bytes: float, passes: float, seconds: float = 3.0
    ):
        self._output_dir, self._total, self._kept, self._seconds = output_dir, total, kept, seconds
        self._text_bytes, self._passes = text_bytes, passes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        last = None
        while not self._stop.wait(self._seconds):
            now = self._look()
            if now != last:
                seconds = time.monotonic() - self._started
                print(f"  {self._told(*now, seconds)}", file=sys.stderr, flush=True)
                last = now

    def _look(self) -> tuple[int, int, int]:
        """Documents and bytes that went to their pools, shards that are finished."""
        folder = FileSystems.join(self._output_dir, records.EXCHANGE)
        exchanged = [m for name in output_folder.names(folder) if (m := _EXCHANGED.fullmatch(name))]
        done = sum(bool(re.fullmatch(output_folder.SHARD, name)) for name in output_folder.names(self._output_dir))
        return sum(int(m[1]) for m in exchanged), sum(int(m[2]) for m in exchanged), done

    def _told(self, documents: int, size: int, done: int, seconds: float) -> str:
        megabytes = size / self._passes / 1e6
        read = f"{documents / self._passes:,.0f} documents, {megabytes:,.0f} MB read"
        if done == self._kept:
            about = f" of about {self._text_bytes / 1e6:,.0f}" if megabytes else ""
            return f"{seconds:.0f} s: {read}{about}, {megabytes / seconds:.1f} MB/s"
        rate = (done - self._kept) / self._total * self._text_bytes / 1e6 / seconds
        told = f"{seconds:.0f} s: {done} of {self._total} shards finished, {rate:.1f} MB/s from text to shards"
        return f"{told} ({read})" if size else told
