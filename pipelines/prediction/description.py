"""What an exported SavedModel says of itself: its signatures, the columns that they read, and its checksum."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping

from apache_beam.io.filesystem import BeamIOError

from bert_tf.core.errors import InputError
from pipelines.running import files

DEFAULT = "serving_default"
_DESCRIPTION = ("assets.extra", "bert_tf.json")
_GRAPH = "saved_model.pb"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signature:
    """A function of the SavedModel that takes strings.

    Attributes:
      name: of the signature.
      fields: {input: the column that files have it in}.
      lists: the inputs that are a list of strings for each example.
      outputs: {output: (dtype, how many axes a value of one example has)}.
      counts: {output that is filled up behind its items: the output or input that has as many}.
    """

    name: str
    fields: Mapping[str, str]
    lists: frozenset[str]
    outputs: Mapping[str, tuple[str, int]]
    counts: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """A SavedModel.

    Attributes:
      path: its folder, such as models/labels/1.
      task: what it answers.
      signatures: the default first, then those for the same column in another form, such as a list of words.
      sha256: of all its files.
    """

    path: str
    task: str
    signatures: tuple[Signature, ...]
    sha256: str


def describe(path: str, columns: Mapping[str, str | None]) -> Description:
    """Reads assets.extra/bert_tf.json of a version.

    Args:
      path: the folder of a version.
      columns: {the exported column: the one to read instead}; None for the exported one.

    Raises:
      InputError: no version that bert_tf.export wrote, or one of an older export.
    """
    expected = f"--model {path}: expected a version that bert_tf.export wrote, such as models/labels/1."
    try:
        data = files.read_bytes(files.join(path, *_DESCRIPTION))
        found = files_below(path)
    except BeamIOError as error:
        raise InputError(f"{expected} Received: {files.reason_of(error)}.") from None
    if data is None or _GRAPH not in found:
        newest = max(
            (name.partition("/")[0] for name in found if name.partition("/")[0].isdigit()), key=int, default=""
        )
        hint = f"a folder of versions; the newest is {files.join(path, newest)}" if newest else "none"
        raise InputError(f"{expected} Received: {hint}.")
    try:
        told = json.loads(data)
        signatures = [_signature(name, value) for name, value in told["signatures"].items() if _takes_strings(value)]
        signatures.sort(key=lambda signature: signature.name != DEFAULT)
        default = signatures[0]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise InputError(f"{expected} Received one of an older export; export the model again.") from None
    # Beside the default: those of other inputs. A signature of the same inputs is the default by another name.
    others = [s for s in signatures[1:] if set(s.fields) != set(default.fields)]
    return Description(
        path=path,
        task=told["task"],
        signatures=tuple(_with_columns(signature, columns) for signature in (default, *others)),
        sha256=_checksum(path, found),
    )


def _takes_strings(value: dict) -> bool:
    return value["method"] == "predict" and all(spec["dtype"] == "string" for spec in value["inputs"].values())


def _signature(name: str, value: dict) -> Signature:
    return Signature(
        name=name,
        fields={key: value["fields"][key] for key in value["inputs"]},
        lists=frozenset(key for key, spec in value["inputs"].items() if len(spec["shape"]) > 1),
        outputs={key: (spec["dtype"], len(spec["shape"]) - 1) for key, spec in value["outputs"].items()},
        counts=value["counts"],
    )


def _with_columns(signature: Signature, columns: Mapping[str, str | None]) -> Signature:
    fields = {
        name: next((new for old, new in columns.items() if new and old == _role(name)), column)
        for name, column in signature.fields.items()
    }
    return dataclasses.replace(signature, fields=fields)


def _role(name: str) -> str:
    """The flag of bert_tf.predict that names the column of an input."""
    return {"words": "text_field", "stem": "second_text_field"}.get(name, f"{name}_field")


def files_below(path: str) -> dict[str, int]:
    """{name below the folder, with / between its parts: bytes}."""
    found = files.match(files.join(path, "**"))
    prefix = path.rstrip("/") + "/"
    return {file.path.removeprefix(prefix): file.size_in_bytes for file in found if file.path.startswith(prefix)}


def _checksum(path: str, found: Mapping[str, int]) -> str:
    digest = hashlib.sha256()
    for name in sorted(found):
        if name.startswith(("assets/", "variables/")) or name == _GRAPH:
            digest.update(f"{name} {files.sha256_of(files.join(path, *name.split('/')))}\n".encode())
    return digest.hexdigest()


def shard_count(examples: int, examples_per_shard: int) -> int:
    """How many shards hold so many examples."""
    return math.ceil(examples / examples_per_shard)


def shard_name(number: int, count: int, ending: str) -> str:
    """The name of a shard of answers: predictions-00000-of-00010.jsonl."""
    return f"predictions-{number:05d}-of-{count:05d}.{ending}"
