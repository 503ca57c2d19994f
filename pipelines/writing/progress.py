"""Reports the progress of a job from the files in its folder, which works with every runner."""

import re
import sys
import threading
import time

from bert_tf.core import records
from pipelines.running import files
from pipelines.writing import exchange, output_folder


class Progress:
    """Prints a line whenever the progress has changed: documents read, where they pass through files, then shards.

    Args:
      output_dir: the job's folder.
      total: how many shards there will be.
      kept: how many of them an earlier job finished.
      text_bytes: estimated bytes of text.
      passes: to how many pools a document goes, on average.
      seconds: between two checks of the folder.
    """

    def __init__(
        self, output_dir: str, *, total: int, kept: int, text_bytes: float, passes: float, seconds: float = 3.0
    ):
        self._output_dir, self._total, self._kept, self._seconds = output_dir, total, kept, seconds
        self._text_bytes, self._passes = text_bytes, passes
        self._notes: dict[str, dict] = {}  # of exchanged documents, by the note's name; notes never change
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
                print(f"  {self._line(*now, seconds)}", file=sys.stderr, flush=True)
                last = now

    def _look(self) -> tuple[int, int, int]:
        """Documents and bytes that were sent to pools, and finished shards."""
        folder = files.join(self._output_dir, records.EXCHANGE)
        for name in files.names(folder):
            if name.endswith(exchange.NOTE) and name not in self._notes:
                self._notes[name] = output_folder.read_json(folder, name)
        documents, size = (sum(note[key] for note in self._notes.values()) for key in ("documents", "bytes"))
        done = sum(bool(re.fullmatch(output_folder.SHARD, name)) for name in files.names(self._output_dir))
        return documents, size, done

    def _line(self, documents: int, size: int, done: int, seconds: float) -> str:
        megabytes = size / self._passes / 1e6
        read = f"{documents / self._passes:,.0f} documents, {megabytes:,.0f} MB read"
        if done == self._kept:
            about = f" of about {self._text_bytes / 1e6:,.0f}" if megabytes else ""
            return f"{seconds:.0f} s: {read}{about}, {megabytes / seconds:.1f} MB/s"
        rate = (done - self._kept) / self._total * self._text_bytes / 1e6 / seconds
        line = f"{seconds:.0f} s: {done} of {self._total} shards finished, {rate:.1f} MB/s from text to shards"
        return f"{line} ({read})" if size else line
