"""What bulk prediction reports while it runs, and at its end."""

from collections.abc import Sequence

from bert_tf.core import records
from pipelines.reading.accounts import lines_of
from pipelines.writing.progress import Progress


class AnswerProgress(Progress):
    """Prints how many examples were read and answered, whenever that has changed.

    Args:
      output: the job's folder.
      kept: entries of the shards that an earlier job finished.
      per_shard: answers of a shard.
    """

    def __init__(self, output: str, *, kept: Sequence[dict], per_shard: int):
        super().__init__(output, total=0, kept=len(kept), text_bytes=0.0, passes=1.0)
        self._per_shard = per_shard

    def _line(self, documents: int, size: int, done: int, seconds: float) -> str:
        line = f"{seconds:.0f} s: {documents:,} examples read" if documents else f"{seconds:.0f} s"
        if done:
            answers = min(done * self._per_shard, documents or done * self._per_shard)
            rate = (done - self._kept) * self._per_shard / seconds
            line += f", about {answers:,} answered in {done:,} shards, {rate:,.0f} a second"
        return line


def summary(manifest: dict) -> str:
    """A table of the input, what was dropped, and the output."""
    counts, seconds = manifest["counts"], manifest["seconds"]
    rows = [
        ("input", f"{manifest['input']['bytes'] / 1e6:,.1f} MB in {manifest['input']['files']:,} files"),
        *lines_of(manifest["reading"]),
        ("examples", f"{counts['examples']:,}"),
        *([("  not read", f"{counts['bad_records']:,} bad records")] if counts["bad_records"] else []),
        *([("  not answered", f"{counts['failures']:,}")] if counts["failures"] else []),
        ("answers", f"{counts['answers']:,}"),
        ("shards", f"{len(manifest['shards']):,}, {counts['bytes'] / 1e6:,.1f} MB"),
        ("seconds", f"{seconds:.1f}, {counts['answers'] / max(seconds, 0.1):,.0f} answers a second with start-up"),
    ]
    if counts["bad_records"] or counts["failures"] or manifest["reading"]["lost_files"]:
        rows.append(("not answered, by place", records.DEAD_LETTER))
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)
