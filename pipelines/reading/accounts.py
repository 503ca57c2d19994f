"""Counts of the bytes read and lost in each file, the limits on losses, and their lines in the summary."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from bert_tf.core.errors import InputError
from pipelines.reading.outcomes import BadRecord, Loss

_LISTED_FILES = 100


class Account(NamedTuple):
    """Sums of a file or of some of its parts; see outcomes.py. `first_loss` and `first_bad` are the first ones."""

    bytes: int = 0  # of the file when it was listed
    documents: int = 0
    bytes_read: int = 0
    bad: int = 0
    bad_bytes: int = 0
    first_bad: BadRecord | None = None
    losses: int = 0
    lost_bytes: int = 0
    weight: int = 0  # of the losses
    first_loss: Loss | None = None


def add_up(accounts: Iterable[Account]) -> Account:
    """The account of a file from those of its parts, in any order."""
    parts = [Account._make(account) for account in accounts]
    return Account(
        first_bad=_first(part.first_bad for part in parts),
        first_loss=_first(part.first_loss for part in parts),
        **_sums(parts, exclude=("first_bad", "first_loss")),
    )


def _first(found: Iterable):
    # Only parts behind the first one count bytes, but for losses of the whole file.
    return min((one for one in found if one is not None), key=lambda x: (x[1] == "byte", x[2]), default=None)


def _sums(parts: list, exclude: tuple[str, ...]) -> dict[str, int]:
    names = parts[0]._fields if parts else ()
    return {name: sum(getattr(part, name) for part in parts) for name in names if name not in exclude}


class LostFile(NamedTuple):
    """A file that was not read to its end, or gave no document; the fields are those of dataset.json."""

    path: str
    bytes: int
    bytes_not_read: int
    documents: int
    reason: str


class Reading(NamedTuple):
    """What was read of all files.

    Attributes:
      documents, bytes, bytes_read: of all files.
      bad, bad_bytes, first_bad: of the files that are not lost.
      lost_files, lost_bytes: of the files with a loss, and of those that have records and no document.
      weight: of the losses; see Loss.
      empty_files: hold nothing but white space, or no record.
      listed: the hundred largest of the lost files.
    """

    documents: int = 0
    bytes: int = 0
    bytes_read: int = 0
    bad: int = 0
    bad_bytes: int = 0
    first_bad: BadRecord | None = None
    lost_files: int = 0
    lost_bytes: int = 0
    weight: int = 0
    empty_files: int = 0
    files: int = 0
    listed: tuple[LostFile, ...] = ()

    def as_dict(self) -> dict:
        """For dataset.json."""
        return {
            "documents": self.documents,
            "bytes": self.bytes,
            "bytes_read": self.bytes_read,
            "bad_records": self.bad,
            "bytes_in_bad_records": self.bad_bytes,
            "first_bad_record": None if self.first_bad is None else BadRecord._make(self.first_bad)._asdict(),
            "bytes_lost": self.lost_bytes,
            "bytes_counted_as_lost": self.weight,
            "empty_files": self.empty_files,
            "lost_files": self.lost_files,
            "lost_files_listed": [LostFile._make(file)._asdict() for file in self.listed],
        }

    @classmethod
    def from_dict(cls, found: dict) -> "Reading":
        """What `as_dict` gave, as far as `check` and `lines_of` need it; older files have fewer counts."""
        first_bad = found.get("first_bad_record")
        return cls(
            documents=found.get("documents", 0),
            bytes=found["bytes"],
            bytes_read=found["bytes_read"],
            bad=found.get("bad_records", 0),
            bad_bytes=found["bytes_in_bad_records"],
            first_bad=None if first_bad is None else BadRecord(**first_bad),
            lost_files=found["lost_files"],
            lost_bytes=found["bytes_lost"],
            weight=found.get("bytes_counted_as_lost", found["bytes_lost"]),
            empty_files=found["empty_files"],
            listed=tuple(LostFile(**file) for file in found["lost_files_listed"]),
        )


def of_file(path: str, account: Account) -> Reading:
    """A file's part of the whole, from the account of all its parts."""
    account = Account(*account)
    read, bad, lost, weight = account.bytes_read, account.bad_bytes, account.lost_bytes, account.weight
    size = max(account.bytes, read + bad + lost)  # it may have grown since it was listed
    reason = None
    if account.first_loss is not None:
        reason = _place(account.first_loss)
        if account.losses > 1:
            reason += f", and {account.losses - 1:,} more"
    if missing := size - read - bad - lost:
        lost, weight = lost + missing, weight + missing
        reason = reason or "the file became shorter after it was listed"
    if account.bad and not account.documents:
        lost, weight, bad = lost + bad, size, 0
        reason = (
            reason or f"none of its {account.bad:,} records is a document, the first at {_place(account.first_bad)}"
        )
    found = Reading(documents=account.documents, bytes=size, bytes_read=read, files=1)
    if bad:
        found = found._replace(bad=account.bad, bad_bytes=bad, first_bad=account.first_bad)
    if reason is not None:
        listed = LostFile(path, size, lost, account.documents, reason)
        return found._replace(lost_files=1, lost_bytes=lost, weight=min(weight, size), listed=(listed,))
    return found._replace(empty_files=int(not account.documents))


def of_all(readings: Iterable[Reading]) -> Reading:
    """The sum, in any order."""
    parts = [Reading._make(reading) for reading in readings]
    listed = {LostFile._make(file) for part in parts for file in part.listed}
    return Reading(
        first_bad=min((part.first_bad for part in parts if part.first_bad is not None), default=None),
        listed=tuple(sorted(listed, key=lambda file: (-file.bytes_not_read, file.path))[:_LISTED_FILES]),
        **_sums(parts, exclude=("first_bad", "listed")),
    )


def _place(found: BadRecord | Loss | None) -> str:
    _, unit, position, reason, *_ = found  # type: ignore[misc]
    return reason if (unit, position) == ("byte", 0) else f"{unit} {position:,}: {reason}"


def check(reading: Reading, *, max_lost_fraction: float, max_bad_fraction: float, where: str = "") -> None:
    """Refuses more losses or bad records than are allowed.

    Args:
      reading: what was read.
      max_lost_fraction, max_bad_fraction: what is allowed.
      where: a sentence on where all of them are listed, with a space before it.

    Raises:
      InputError: names the first file or record.
    """
    # A lost file may have no bytes at all. The tolerance lets the fraction that is proposed below pass.
    if reading.lost_files and (
        not max_lost_fraction or reading.weight > max_lost_fraction * reading.bytes * (1 + 1e-9)
    ):
        first = LostFile._make(reading.listed[0])
        share = max(0.001, math.ceil(reading.weight / max(1, reading.bytes) * 1000) / 1000)
        limit = f" (at most {max_lost_fraction:.2%} of the bytes lost)" if max_lost_fraction else ""
        more = f" {reading.lost_files - 1:,} more files are incomplete." if reading.lost_files > 1 else ""
        raise InputError(
            f"--input: expected complete files{limit}. Received {first.path}, of which {first.documents:,} documents "
            f"were read and {first.bytes_not_read:,} of {first.bytes:,} bytes were not: {first.reason}.{more} Repair "
            f"or remove them, or allow the loss with --max_lost_fraction={share:g}.{where}"
        )
    records, size = reading.bad + reading.documents, reading.bytes
    if reading.first_bad is None:
        return
    bad = BadRecord._make(reading.first_bad)
    if reading.bad > max_bad_fraction * records or reading.bad_bytes > max_bad_fraction * size:
        by_bytes = reading.bad <= max_bad_fraction * records
        share = f" with {reading.bad_bytes / size:.2%} of the bytes" if by_bytes else ""
        raise InputError(
            f"--input: expected at most {max_bad_fraction:.2%} of bad records (--max_bad_fraction). Received "
            f"{reading.bad} beside {reading.documents} documents{share}, the first at {bad.path}, "
            f"{bad.unit} {bad.position}: {bad.reason}.{where}"
        )


def lines_of(reading: dict) -> list[tuple[str, str]]:
    """The rows of a summary, from `Reading.as_dict`: only what is not as it should be."""
    rows = []
    if reading["empty_files"]:
        rows.append(("  files without text", f"{reading['empty_files']:,}"))
    if reading["bytes_in_bad_records"]:
        rows.append(("  in unreadable records", f"{reading['bytes_in_bad_records']:,} bytes"))
    if reading["lost_files"]:
        rows.append(("  lost", f"{reading['bytes_lost']:,} bytes in {reading['lost_files']:,} files"))
        rows += [
            ("", f"{file['path']}: {file['bytes_not_read']:,} of {file['bytes']:,} bytes not read: {file['reason']}")
            for file in reading["lost_files_listed"][:10]
        ]
    return rows
