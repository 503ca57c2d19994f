"""The job's output folder: what an earlier job left there, what is removed, which shards are finished."""

import concurrent.futures
import contextlib
import json
import re
from collections.abc import Collection, Iterator, Sequence

from bert_tf.core import card, records
from bert_tf.core.errors import InputError, StorageError
from bert_tf.text.vocabulary import added_tokens, digest
from pipelines.reading.accounts import Reading, check
from pipelines.running import files

SHARD = r"(?:pretrain-(?:train|validation)\.tfrecord-\d{5}-of-\d{5}|predictions-\d{5,}-of-\d{5,}\.(?:jsonl|parquet))"
_PROVENANCE = r"provenance-(train|validation)-\d{5}-of-\d{5}\.parquet"
_WORK_FOLDERS = (records.EXCHANGE, records.PROGRESS)
_READERS = 8
# What a folder must have been made with, as far as a job has it.
_SAME = ("format", "parameters", "filtering", "vocabulary", "model", "input")
_WITH = ("versions",)  # and what shards that come together must have been made with
_TEMPORARY = re.compile(rf"({SHARD}|{_PROVENANCE}|[\w.]+)\.[0-9a-f]{{32}}\.tmp")
_OURS = re.compile(
    rf"{SHARD}|{_PROVENANCE}|{_TEMPORARY.pattern}|features\.json|{re.escape(card.NAME)}|dataset_info\.json|{records.COMPLETED}|{records.MANIFEST}|{records.JOB}"
    rf"|{records.PROGRESS}|{records.EXCHANGE}|{re.escape(records.DEAD_LETTER)}"
)


def reusable(
    output_dir: str, manifest: dict, overwrite: bool, flag: str = "--output_dir"
) -> tuple[dict | None, list[dict]]:
    """What this job can use of an earlier one: its dataset.json if the folder is complete, else its intact shards.

    Args:
      output_dir: the folder.
      manifest: of this job; dataset.json without results.
      overwrite: use nothing.
      flag: that names the folder, for errors.

    Raises:
      InputError: the folder holds another job's shards, or files that no job wrote.
    """
    if any(c in output_dir for c in "*?["):
        raise InputError(f"{flag} {output_dir}: expected a name without *, ? and [. Received one with them.")
    present = [
        name
        for name in (records.COMPLETED, records.JOB, records.MANIFEST)
        if files.exists(files.join(output_dir, name))
    ]
    if not present:
        _refuse_others(output_dir, manifest, flag)
    if overwrite or not present:
        return None, []
    # Without COMPLETED a job was stopped, and its job.json counts.
    is_running = records.COMPLETED not in present and records.JOB in present
    there = read_json(output_dir, records.JOB if is_running else records.MANIFEST)
    there["parameters"].get("instances", {}).setdefault("tokenizer", "wordpiece")  # version 0.1 had one kind
    _refuse_differences(output_dir, there, manifest, _SAME, flag)
    if is_running:
        _refuse_differences(output_dir, there, manifest, _WITH, flag)
        return None, _whole(output_dir, _noted(output_dir))
    made = {(part["name"], part["bytes"]) for info in there["shards"] for part in _parts(info)}
    if files.sizes(output_dir).items() >= made:
        if records.COMPLETED in present:
            remove_work_files(output_dir)  # of a job that was killed just before its end
            return there, []
    else:
        print(f"{output_dir} lacks files that its dataset.json lists: they are made again.", flush=True)
    _refuse_differences(output_dir, there, manifest, _WITH, flag)
    return None, _whole(output_dir, there["shards"])


def finished_before(output_dir: str, complete: dict, max_lost_fraction: float, max_bad_fraction: float) -> dict:
    """The manifest of a complete folder, whose losses are within the limits of this command too.

    Raises:
      InputError: the limits of the command that made the folder were higher.
    """
    check(
        Reading.from_dict(complete["reading"]),
        max_lost_fraction=max_lost_fraction,
        max_bad_fraction=max_bad_fraction,
        where=f" {output_dir} was made with a higher limit and stays as it is.",
    )
    print(f"{output_dir} is complete and was made with the same parameters: nothing to do.", flush=True)
    return complete


def _refuse_others(output_dir: str, manifest: dict, flag: str) -> None:
    other = [
        name
        for name in files.names(output_dir)
        # A job that was killed at its first write leaves only a temporary file.
        if name not in (records.VOCABULARY, records.DEAD_LETTER) and not _TEMPORARY.fullmatch(name)
    ]
    vocabulary = files.read_bytes(files.join(output_dir, records.VOCABULARY))
    # The vocabulary itself may have been put there beforehand; another one is not overwritten.
    made_with = manifest.get("vocabulary")
    if vocabulary and (not made_with or digest(vocabulary, added_tokens(made_with)) != made_with["sha256"]):
        other.append(records.VOCABULARY)
    if other:
        raise InputError(
            f"{flag} {output_dir}: expected an empty folder, or one that an earlier job made. "
            f"Received one with {other[0]}."
        )


def _refuse_differences(output_dir: str, there: dict, manifest: dict, parts: Sequence[str], flag: str) -> None:
    for name in parts:
        if there.get(name) != manifest.get(name):
            raise InputError(
                f"{flag} {output_dir}: expected an empty folder, or one made from the same {name}. Received one "
                f"made with {_differences(there.get(name), manifest.get(name))}; --overwrite starts over."
            )


def begin(output_dir: str, manifest: dict, kept: Sequence[dict], flag: str = "--output_dir") -> None:
    """Writes job.json, then removes what an earlier job left, except the shards to keep.

    In this order, so that the same command can resume a job that is killed while it removes files.
    """
    with _writing(output_dir, flag):
        files.make_folder(output_dir)
        if not kept:
            # Another job's notes must not be read with this one's job.json.
            remove_folder(files.join(output_dir, records.PROGRESS))
    files.write_json(files.join(output_dir, records.JOB), manifest)
    clear(output_dir, {records.JOB, *(part["name"] for info in kept for part in _parts(info))})
    with _writing(output_dir):
        for name in _WORK_FOLDERS:
            files.make_folder(files.join(output_dir, name))
    for info in kept:
        mark_finished(output_dir, info)


def clear(output_dir: str, stay: Collection[str] = ()) -> None:
    """Removes what a job wrote, except the names in `stay`: COMPLETED first, job.json last."""
    last = {records.COMPLETED: 0, records.JOB: 2}
    with _writing(output_dir):
        remove_folder(files.join(output_dir, records.EXCHANGE))
        noted = {f"{name}.json" for name in stay if re.fullmatch(SHARD, name)}
        remove_folder(files.join(output_dir, records.PROGRESS), noted)
        made = {name for name in files.names(output_dir) if _OURS.fullmatch(name)} - {*stay, *_WORK_FOLDERS}
        for name in sorted(made, key=lambda name: (last.get(name, 1), name)):
            files.delete([files.join(output_dir, name)])


def remove_exchange(output_dir: str) -> None:
    """Removes the exchanged documents if possible: a full disk is the likeliest reason for a failed job."""
    with contextlib.suppress(*files.ERRORS, StorageError):
        remove_folder(files.join(output_dir, records.EXCHANGE))


def remove_work_files(output_dir: str) -> None:
    """Removes the files that only a running job needs, job.json last."""
    for name in _WORK_FOLDERS:
        remove_folder(files.join(output_dir, name))
    if files.exists(files.join(output_dir, records.JOB)):
        files.delete([files.join(output_dir, records.JOB)])


@contextlib.contextmanager
def _writing(output_dir: str, flag: str = "--output_dir") -> Iterator[None]:
    try:
        yield
    except files.ERRORS as error:
        raise InputError(f"{flag} {output_dir}: expected a folder that can be written. Received: {error}.") from None


def remove_folder(folder: str, stay: Collection[str] = ()) -> None:
    """Removes a folder of files, or the files whose names are not in `stay`."""
    paths = [files.join(folder, name) for name in files.names(folder) if name not in stay]
    if paths:
        files.delete(paths)
    if not stay and files.exists(folder):  # object stores have no empty folders
        files.delete([folder])


def mark_finished(output_dir: str, info: dict) -> None:
    """Writes a shard's entry for dataset.json to a note, once the shard has its final name."""
    path = files.join(output_dir, records.PROGRESS, f"{info['name']}.json")
    files.write_json(path, info)


def _noted(output_dir: str) -> list[dict]:
    """The notes of `mark_finished`."""
    folder = files.join(output_dir, records.PROGRESS)
    noted = [name for name in files.names(folder) if name.endswith(".json")]
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda name: read_json(folder, name), noted))


def _whole(output_dir: str, infos: Sequence[dict]) -> list[dict]:
    """The entries of those shards whose SHA-256 is as recorded, and that of their provenance."""
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        return [info for info in pool.map(lambda info: _if_whole(output_dir, info), infos) if info]


def _if_whole(output_dir: str, info: dict) -> dict | None:
    paths = ((files.join(output_dir, part["name"]), part["sha256"]) for part in _parts(info))
    return info if all(files.sha256_of(path) == digest for path, digest in paths) else None


def _parts(info: dict) -> list[dict]:
    """The files of a shard: itself and, for pretraining, its provenance."""
    return [info, *([info["provenance"]] if "provenance" in info else [])]


def _differences(there, now, path: str = "") -> str:
    """Which fields differ, and how: "instances.seed = 1 instead of 2"."""
    if isinstance(there, dict) and isinstance(now, dict):
        if "listing_sha256" in now and there.get("patterns") == now["patterns"]:
            return "other files, or files that were changed since, under the same names"
        parts = [
            _differences(there.get(key), now.get(key), f"{path}.{key}" if path else key)
            for key in sorted({*there, *now} - {"listing_sha256"})
            if there.get(key) != now.get(key)
        ]
        return ", ".join(parts)
    difference = f"{there!r} instead of {now!r}"
    return f"{path} = {difference}" if path else difference


def read_json(output_dir: str, name: str) -> dict:
    """A JSON file of the folder."""
    path = files.join(output_dir, name)
    try:
        return json.loads(files.read_bytes(path) or b"")
    except ValueError:
        raise InputError(
            f"{path}: expected what an earlier job wrote. Received no JSON; --overwrite starts over."
        ) from None
