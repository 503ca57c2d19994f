"""The folder that a job writes to: what lies there before, what is removed from it, how far the job is."""

import concurrent.futures
import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from bert_tf import records
from bert_tf.errors import InputError
from pipelines import shards

SHARD = r"pretrain-(train|validation)\.tfrecord-\d{5}-of-\d{5}"
_WORK_FOLDERS = (records.EXCHANGE, records.PROGRESS)
_READERS = 8
_OURS = re.compile(
    rf"{SHARD}|({SHARD}|[\w.]+)\.[0-9a-f]{{32}}\.tmp|features\.json|dataset_info\.json|{records.COMPLETED}|{records.MANIFEST}|{records.JOB}"
    rf"|{records.PROGRESS}|{records.EXCHANGE}|{re.escape(records.DEAD_LETTER)}"
)


def reusable(output_dir: str, manifest: dict, overwrite: bool) -> dict | None:
    """The dataset.json of a folder that is complete and the same; None if there is work to do.

    Raises:
      InputError: the folder holds something else: another job's shards, or files that no job made.
    """
    present = {
        name: FileSystems.exists(FileSystems.join(output_dir, name)) for name in (records.COMPLETED, records.JOB)
    }
    if overwrite and any(present.values()):
        return None
    if present[records.COMPLETED]:
        there = read_json(output_dir, records.MANIFEST)
    elif present[records.JOB]:
        there = read_json(output_dir, records.JOB)  # a job that was killed
    else:
        other = [name for name in names(output_dir) if name not in (records.VOCABULARY, records.DEAD_LETTER)]
        vocabulary = shards.read_bytes(FileSystems.join(output_dir, records.VOCABULARY))
        # The vocabulary itself may have been put there beforehand; another one is not overwritten.
        if vocabulary and hashlib.sha256(vocabulary).hexdigest() != manifest["vocabulary"]["sha256"]:
            other.append(records.VOCABULARY)
        if other:
            raise InputError(
                f"--output_dir {output_dir}: expected an empty folder, or one that an earlier job made. "
                f"Received one with {other[0]}."
            )
        return None
    for name in ("format", "parameters", "vocabulary", "input"):
        if there.get(name) != manifest[name]:
            raise InputError(
                f"--output_dir {output_dir}: expected an empty folder, or one made from the same {name}. Received one "
                f"made with {_differences(there.get(name), manifest[name])}; --overwrite starts over."
            )
    if not present[records.COMPLETED]:
        return None
    remove_work_files(output_dir)  # of a job that was killed between its last strokes
    print(f"{output_dir} is complete and was made with the same parameters: nothing to do.", flush=True)
    return there


def names(output_dir: str) -> list[str]:
    """Names of what lies in a folder, sorted; none if it is not there."""
    if not FileSystems.exists(output_dir):
        return []
    found = FileSystems.match([FileSystems.join(output_dir, "*")])[0].metadata_list
    return sorted(FileSystems.split(metadata.path)[1] for metadata in found)


def clear(output_dir: str, kept: Sequence[dict] = (), *, with_dead_letter: bool = True) -> None:
    """Removes what an earlier job left, COMPLETED first, but for the shards to keep and what was noted of them."""
    stay = {info["name"] for info in kept} | (set() if with_dead_letter else {records.DEAD_LETTER})
    with _writing(output_dir):
        if not FileSystems.exists(output_dir):
            return
        made = [name for name in names(output_dir) if _OURS.fullmatch(name) and name not in _WORK_FOLDERS]
        for name in sorted(set(made) - stay, key=lambda name: (name != records.COMPLETED, name)):
            FileSystems.delete([FileSystems.join(output_dir, name)])
        _remove_folder(FileSystems.join(output_dir, records.EXCHANGE))
        _remove_folder(FileSystems.join(output_dir, records.PROGRESS), {f"{info['name']}.json" for info in kept})


def make_folders(output_dir: str) -> None:
    """Makes the folder and those that a running job needs in it, where they are not there yet."""
    with _writing(output_dir):
        for folder in (output_dir, *(FileSystems.join(output_dir, name) for name in _WORK_FOLDERS)):
            if not FileSystems.exists(folder):
                FileSystems.mkdirs(folder)


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


def finished_shards(output_dir: str) -> list[dict]:
    """What `mark_finished` noted of the shards that are still there, byte for byte, sorted by name."""
    folder = FileSystems.join(output_dir, records.PROGRESS)
    noted = [name for name in names(folder) if name.endswith(".json")]
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        infos = pool.map(lambda name: _if_whole(output_dir, read_json(folder, name)), noted)
        return [info for info in infos if info]


def _if_whole(output_dir: str, info: dict) -> dict | None:
    data = shards.read_bytes(FileSystems.join(output_dir, info["name"]))
    return info if data is not None and hashlib.sha256(data).hexdigest() == info["sha256"] else None


def _differences(there, now) -> str:
    if not isinstance(there, dict):
        return f"{there!r} instead of {now!r}"
    return ", ".join(f"{k} = {there.get(k)!r} instead of {now[k]!r}" for k in now if there.get(k) != now[k])


def read_json(output_dir: str, name: str) -> dict:
    """A JSON file of the folder."""
    path = FileSystems.join(output_dir, name)
    try:
        return json.loads(shards.read_bytes(path) or b"")
    except ValueError:
        raise InputError(
            f"{path}: expected what an earlier job wrote. Received no JSON; --overwrite starts over."
        ) from None
