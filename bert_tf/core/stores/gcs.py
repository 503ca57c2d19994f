"""gs:// through google-cloud-storage, which Beam's own client uses too; STORAGE_EMULATOR_HOST names another server."""

import contextlib
import functools
import http
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from bert_tf.core.stores.store import TIMEOUT, Failure, Status

_ONCE = {"timeout": TIMEOUT, "retry": None}  # objects.py retries


class Gcs:
    """See store.Store."""

    def __init__(self):
        from google.cloud import storage

        # Objects need no project, but the client refuses to begin without one.
        self._client = storage.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT", "none"))

    def _blob(self, bucket: str, key: str):
        return self._client.bucket(bucket).blob(key)

    def stat(self, bucket: str, key: str) -> Status | None:
        from google.api_core.exceptions import NotFound

        blob = self._blob(bucket, key)
        try:
            blob.reload(**_ONCE)
        except NotFound:
            self._check_bucket(bucket)
            return None
        return _status(blob)

    @functools.cache  # noqa: B019 - one instance a process
    def _check_bucket(self, bucket: str) -> None:
        # Listing takes a permission that readers of objects have; looking at the bucket itself takes another.
        list(self._client.list_blobs(bucket, max_results=1, **_ONCE))

    def listed(self, bucket: str, prefix: str, *, shallow: bool) -> Iterator[Status]:
        found = self._client.list_blobs(bucket, prefix=prefix, delimiter="/" if shallow else None, **_ONCE)
        yield from (_status(blob) for blob in found)

    def read(self, bucket: str, status: Status, start: int, length: int) -> bytes:
        from google.api_core.exceptions import NotFound

        try:
            return self._blob(bucket, status.key).download_as_bytes(
                start=start,
                end=start + length - 1,
                raw_download=True,  # the object's own bytes, whatever its Content-Encoding
                checksum=None,  # there is none of a part
                if_generation_match=int(status.version),
                **_ONCE,
            )
        except NotFound:
            raise FileNotFoundError(None, "no such object") from None

    def write(self, bucket: str, key: str, file: BinaryIO, size: int, *, if_absent: bool) -> None:
        self._blob(bucket, key).upload_from_file(
            file, size=size, checksum="crc32c", if_generation_match=0 if if_absent else None, **_ONCE
        )

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        from google.api_core.exceptions import NotFound

        for key in keys:
            with contextlib.suppress(NotFound):
                self._blob(bucket, key).delete(**_ONCE)


def failure_of(error: Exception) -> tuple[Failure, str] | None:
    """See store.py."""
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as auth

    if isinstance(error, FileNotFoundError):
        return Failure.NO_OBJECT, str(error.strerror)
    if isinstance(error, exceptions.GoogleAPICallError):
        return _kind_of(error), f"HTTP {error.code} {http.HTTPStatus(error.code).phrase}"
    if isinstance(error, auth.TransportError):
        return Failure.REFUSED, f"no connection to the server that gives credentials ({_line(error)})"
    if isinstance(error, auth.GoogleAuthError):
        return Failure.NO_CREDENTIALS, "none (GOOGLE_APPLICATION_CREDENTIALS, gcloud's, or a role of the machine)"
    if isinstance(error, requests.ConnectionError):
        place = os.environ.get("STORAGE_EMULATOR_HOST", "https://storage.googleapis.com")
        is_refused = "NewConnectionError" in repr(error) or "NameResolution" in repr(error)
        return (Failure.REFUSED, f"no connection to {place}") if is_refused else (Failure.BUSY, "a broken connection")
    if isinstance(error, requests.RequestException | ConnectionError | TimeoutError):
        return Failure.BUSY, _line(error)
    return None


def _kind_of(error) -> Failure:
    if error.code == 404:  # stat, read and delete handle that of an object themselves
        return Failure.NO_BUCKET
    if error.code in (401, 403):
        return Failure.DENIED
    if error.code in (408, 429) or error.code >= 500:
        return Failure.BUSY
    return Failure.CHANGED if error.code == 412 else Failure.OTHER


def _line(error) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def _status(blob) -> Status:
    modified = blob.updated or blob.time_created
    return Status(blob.name, blob.size, modified.timestamp() if modified else 0.0, str(blob.generation))
