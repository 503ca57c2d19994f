"""The folder that a job writes to: what lies there before, what is removed from it, how far the job is."""

import concurrent.futures
import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from bert_tf.core import records
from bert_tf.core.errors import InputError
from pipelines.writing import shards

SHARD = r"pretrain-(train|validation)\.tfrecord-\d{5}-of-\d{5}"
_WORK_FOLDERS = (records.EXCHANGE, records.PROGRESS)
_READERS = 8
_SAME = ("format", "parameters", "vocabulary", "input")  # what a folder must have been made with
_WITH = ("versions",)  # and what shards that come together must have been made with
_TEMPORARY = re.compile(rf"({SHARD}|[\w.]+)\.[0-9a-f]{{32}}\.tmp")
_OURS = re.compile(
    rf"{SHARD}|{_TEMPORARY.pattern}|features\.json|dataset_info\.json|{records.COMPLETED}|{records.MANIFEST}|{records.JOB}"
    rf"|{records.PROGRESS}|{records.EXCHANGE}|{re.escape(records.DEAD_LETTER)}"
)


def reusable(output_dir: str, manifest: dict, overwrite: bool) -> tuple[dict | None, list[dict]]:
    """What an earlier job left: its dataset.json if the folder is complete and the same, else its whole shards.

    Raises:
      InputError: the folder holds something else: another job's shards, or files that no job made.
    """
    if any(c in output_dir for c in "*?["):
        raise InputError(f"--output_dir {output_dir}: expected a name without *, ? and [. Received one with them.")
    present = [
        name
        for name in (records.COMPLETED, records.JOB, records.MANIFEST)
        if FileSystems.exists(FileSystems.join(output_dir, name))
    ]
    if not present:
        _refuse_others(output_dir, manifest)
    if overwrite or not present:
        return None, []
    # Without COMPLETED a job is under way, and its own description counts.
    is_running = records.COMPLETED not in present and records.JOB in present
    there = read_json(output_dir, records.JOB if is_running else records.MANIFEST)
    _refuse_differences(output_dir, there, manifest, _SAME)
    if is_running:
        _refuse_differences(output_dir, there, manifest, _WITH)
        return None, _whole(output_dir, _noted(output_dir))
    if _sizes(output_dir).items() >= {(info["name"], info["bytes"]) for info in there["shards"]}:
        if records.COMPLETED in present:
            remove_work_files(output_dir)  # of a job that was killed between its last strokes
            print(f"{output_dir} is complete and was made with the same parameters: nothing to do.", flush=True)
            return there, []
    else:
        print(f"{output_dir} is not what its dataset.json says: what is missing is made again.", flush=True)
    _refuse_differences(output_dir, there, manifest, _WITH)
    return None, _whole(output_dir, there["shards"])


def _refuse_others(output_dir: str, manifest: dict) -> None:
    other = [
        name
        for name in names(output_dir)
        # A job that was killed at its first write leaves nothing but the name that it wrote under.
        if name not in (records.VOCABULARY, records.DEAD_LETTER) and not _TEMPORARY.fullmatch(name)
    ]
    vocabulary = shards.read_bytes(FileSystems.join(output_dir, records.VOCABULARY))
    # The vocabulary itself may have been put there beforehand; another one is not overwritten.
    if vocabulary and hashlib.sha256(vocabulary).hexdigest() != manifest["vocabulary"]["sha256"]:
        other.append(records.VOCABULARY)
    if other:
        raise InputError(
            f"--output_dir {output_dir}: expected an empty folder, or one that an earlier job made. "
            f"Received one with {other[0]}."
        )


def _refuse_differences(output_dir: str, there: dict, manifest: dict, parts: Sequence[str]) -> None:
    for name in parts:
        if there.get(name) != manifest[name]:
            raise InputError(
                f"--output_dir {output_dir}: expected an empty folder, or one made from the same {name}. Received one "
                f"made with {_differences(there.get(name), manifest[name])}; --overwrite starts over."
            )


def _sizes(output_dir: str) -> dict[str, int]:
    found = FileSystems.match([FileSystems.join(output_dir, "*")])[0].metadata_list
    return {FileSystems.split(metadata.path)[1]: metadata.size_in_bytes for metadata in found}


def names(output_dir: str) -> list[str]:
    """Names of the files in a folder, sorted; none if it is not there.

    Whether it is there is not asked: in an object store no object has a folder's name.
    """
    try:
        return sorted(_sizes(output_dir))
    except BeamIOError:  # some file systems have no list of what is not there
        if FileSystems.exists(output_dir):
            raise
        return []


def begin(output_dir: str, manifest: dict, kept: Sequence[dict]) -> None:
    """Makes the folder a running job's: its description is there before anything of an earlier one goes.

    So a job that is killed while it clears is still a job's folder, and the same command goes on.
    """
    with _writing(output_dir):
        if not FileSystems.exists(output_dir):
            FileSystems.mkdirs(output_dir)
        if not kept:
            # What is noted of another job's shards must not be read beside this one's description.
            _remove_folder(FileSystems.join(output_dir, records.PROGRESS))
    description = (json.dumps(manifest, indent=2) + "\n").encode()
    shards.write_bytes(FileSystems.join(output_dir, records.JOB), description)
    clear(output_dir, {records.JOB, *(info["name"] for info in kept)})
    with _writing(output_dir):
        for name in _WORK_FOLDERS:
            if not FileSystems.exists(FileSystems.join(output_dir, name)):
                FileSystems.mkdirs(FileSystems.join(output_dir, name))
    for info in kept:
        mark_finished(output_dir, info)


def clear(output_dir: str, stay: Collection[str] = ()) -> None:
    """Removes what a job made but for what shall stay: COMPLETED first, the description of a running job last."""
    last = {records.COMPLETED: 0, records.JOB: 2}
    with _writing(output_dir):
        _remove_folder(FileSystems.join(output_dir, records.EXCHANGE))
        noted = {f"{name}.json" for name in stay if re.fullmatch(SHARD, name)}
        _remove_folder(FileSystems.join(output_dir, records.PROGRESS), noted)
        made = {name for name in names(output_dir) if _OURS.fullmatch(name)} - {*stay, *_WORK_FOLDERS}
        for name in sorted(made, key=lambda name: (last.get(name, 1), name)):
            FileSystems.delete([FileSystems.join(output_dir, name)])


def remove_exchange(output_dir: str) -> None:
    """Removes the documents that were on their way, if it can be done: a full disk is the likeliest reason to stop."""
    with contextlib.suppress(OSError, BeamIOError):
        _remove_folder(FileSystems.join(output_dir, records.EXCHANGE))


def remove_work_files(output_dir: str) -> None:
    """Removes what only a running job needs, its description last."""
    for name in _WORK_FOLDERS:
        _remove_folder(FileSystems.join(output_dir, name))
    if FileSystems.exists(FileSystems.join(output_dir, records.JOB)):
        FileSystems.delete([FileSystems.join(output_dir, records.JOB)])


@contextlib.contextmanager
def _writing(output_dir: str) -> Iterator[None]:
    try:
        yield
    except (OSError, BeamIOError) as error:
        raise InputError(
            f"--output_dir {output_dir}: expected a folder that can be written. Received: {error}."
        ) from None


def _remove_folder(folder: str, stay: Collection[str] = ()) -> None:
    paths = [FileSystems.join(folder, name) for name in names(folder) if name not in stay]
    if paths:
        FileSystems.delete(paths)
    if not stay and FileSystems.exists(folder):  # object stores have no empty folders
        FileSystems.delete([folder])


def mark_finished(output_dir: str, info: dict) -> None:
    """Notes what dataset.json will say of a shard, once the shard has its final name."""
    path = FileSystems.join(output_dir, records.PROGRESS, f"{info['name']}.json")
    shards.write_bytes(path, json.dumps(info).encode())


def _noted(output_dir: str) -> list[dict]:
    """What `mark_finished` noted."""
    folder = FileSystems.join(output_dir, records.PROGRESS)
    noted = [name for name in names(folder) if name.endswith(".json")]
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda name: read_json(folder, name), noted))


def _whole(output_dir: str, infos: Sequence[dict]) -> list[dict]:
    """Those shards that are there, byte for byte."""
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        return [info for info in pool.map(lambda info: _if_whole(output_dir, info), infos) if info]


def _if_whole(output_dir: str, info: dict) -> dict | None:
    return info if shards.sha256_of(FileSystems.join(output_dir, info["name"])) == info["sha256"] else None


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
    told = f"{there!r} instead of {now!r}"
    return f"{path} = {told}" if path else told


def read_json(output_dir: str, name: str) -> dict:
    """A JSON file of the folder."""
    path = FileSystems.join(output_dir, name)
    try:
        return json.loads(shards.read_bytes(path) or b"")
    except ValueError:
        raise InputError(
            f"{path}: expected what an earlier job wrote. Received no JSON; --overwrite starts over."
        ) from None
