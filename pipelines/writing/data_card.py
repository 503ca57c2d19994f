"""The data card of a folder of shards: README.md, generated from its dataset.json."""

import collections
import math

from bert_tf.core import card
from pipelines.running import files
from pipelines.writing import quality
from pipelines.writing.report import dropped_labels

_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")


def write(output_dir: str, manifest: dict) -> None:
    """Writes the card of a folder of shards, from its dataset.json."""
    files.write_bytes(files.join(output_dir, card.NAME), text_of(manifest).encode("utf-8", "replace"))


def text_of(manifest: dict) -> str:
    """The card of a dataset.json, without what depends on the clock."""
    licences = licences_of(manifest["shards"])
    rows = sum(shard["examples"] for shard in manifest["shards"])
    front = {
        "task_categories": ["fill-mask"],
        "size_categories": [_SIZES[min(len(_SIZES) - 1, max(0, int(math.log10(max(1, rows))) - 2))]],
        "tags": ["bert_tf", "tfrecord"],
    }
    return card.card(
        "Pretraining rows",
        front,
        licences,
        [
            ("Content", _content(manifest)),
            ("Sources", _sources(manifest)),
            ("Licences", card.licence_section(licences)),
            ("Filters", _filters(manifest)),
            ("Rows", _settings(manifest["parameters"]["instances"])),
            ("Quality", f"```\n{quality.report(manifest)}\n```"),
            ("Use", _USE),
        ],
    )


def licences_of(shards: list[dict]) -> dict[str, int]:
    """{licence: documents} of all shards; card.UNKNOWN for those without one."""
    total: collections.Counter = collections.Counter()
    for shard in shards:
        total.update(shard["provenance"]["licences"])
    return dict(sorted(total.items()))


_USE = """```python
import tensorflow_datasets as tfds
rows = tfds.builder_from_directory("FOLDER").as_dataset(split="train")
```

`python -m bert_tf.pretrain --set data.train=FOLDER` trains on it (TFDS reads uncompressed shards only).
`provenance-*.parquet` names the documents of each row: id, file, offset, source and licence."""


def _content(manifest: dict) -> str:
    rows = []
    for split in ("train", "validation"):
        of_split = [shard for shard in manifest["shards"] if shard["name"].startswith(f"pretrain-{split}.")]
        sums = (sum(shard[name] for shard in of_split) for name in ("examples", "bytes"))
        rows.append((split, len(of_split), *sums))
    counts = manifest["counts"]
    facts = [(name, counts.get(name, 0)) for name in ("documents_read", "sentences", "tokens", "instances")]
    facts.append(("vocabulary_size", manifest["vocabulary"]["size"]))
    splits = card.table(["split", "shards", "rows", "bytes"], rows)
    return f"{splits}\n\n{card.table(['count', 'value'], facts)}"


def _sources(manifest: dict) -> str:
    found, reading = manifest["input"], manifest["reading"]
    rows = [
        *(("pattern", f"`{pattern}`") for pattern in found["patterns"]),
        ("files", found["files"]),
        ("bytes", found["bytes"]),
        ("bytes lost", reading["bytes_lost"]),
        ("bytes in bad records", reading["bytes_in_bad_records"]),
    ]
    return card.table(["source", "value"], rows)


def _filters(manifest: dict) -> str:
    counts = manifest["counts"]
    dropped = [(reason, counts[name]) for name, reason in dropped_labels(manifest).items() if counts.get(name)]
    excluded = manifest["filtering"]["exclude"] or {}
    settings = _settings({**manifest["parameters"]["documents"], **{f"exclude {k}": v for k, v in excluded.items()}})
    return f"{settings}\n\n{card.table(['dropped', 'count'], dropped) if dropped else 'Nothing was dropped.'}"


def _settings(settings: dict) -> str:
    return card.table(["setting", "value"], [(f"`{name}`", f"`{value}`") for name, value in settings.items()])
