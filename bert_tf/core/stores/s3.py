"""s3:// through boto3, which Beam's own S3 client uses too: one set of credentials and endpoints for all commands."""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from bert_tf.core.stores.store import TIMEOUT, Failure, Status

_IN_ONE_REQUEST = 64 << 20  # bytes; larger objects are uploaded in parts
_KEYS_AT_ONCE = 1000  # the most that DeleteObjects takes
_ABSENT = ("404", "NoSuchKey", "NotFound")
_BUSY = ("SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "Throttling", "ThrottlingException")


class S3:
    """See store.Store. AWS_ENDPOINT_URL names a server that is not Amazon's."""

    def __init__(self):
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=TIMEOUT[0],
            read_timeout=TIMEOUT[1],
            retries={"total_max_attempts": 1},  # objects.py retries
            max_pool_connections=32,
        )
        self._client = boto3.session.Session().client("s3", config=config)

    def stat(self, bucket: str, key: str) -> Status | None:
        try:
            found = self._client.head_object(Bucket=bucket, Key=key)
        except self._client.exceptions.ClientError as error:
            if _code(error) not in _ABSENT:
                raise
            self._check_bucket(bucket)  # HEAD answers 404 for a missing bucket too
            return None
        return Status(key, found["ContentLength"], found["LastModified"].timestamp(), found["ETag"])

    @functools.cache  # noqa: B019 - one instance a process
    def _check_bucket(self, bucket: str) -> None:
        self._client.list_objects_v2(Bucket=bucket, MaxKeys=1)

    def listed(self, bucket: str, prefix: str, *, shallow: bool) -> Iterator[Status]:
        more = {"Delimiter": "/"} if shallow else {}
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **more):
            for found in page.get("Contents", ()):
                yield Status(found["Key"], found["Size"], found["LastModified"].timestamp(), found["ETag"])

    def read(self, bucket: str, status: Status, start: int, length: int) -> bytes:
        end = start + length - 1
        found = self._client.get_object(
            Bucket=bucket, Key=status.key, Range=f"bytes={start}-{end}", IfMatch=status.version
        )
        return found["Body"].read()

    def write(self, bucket: str, key: str, file: BinaryIO, size: int, *, if_absent: bool) -> None:
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        if size <= _IN_ONE_REQUEST or if_absent:
            self._client.put_object(Bucket=bucket, Key=key, Body=file, **condition)
            return
        with open(os.dup(file.fileno()), "rb") as copy:  # boto3 closes what it uploads in parts
            self._client.upload_fileobj(copy, bucket, key)

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            objects = [{"Key": key} for key in keys[start : start + _KEYS_AT_ONCE]]
            answer = self._client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            for failed in answer.get("Errors", ()):
                raise PermissionError(None, f"{failed['Key']}: {failed['Code']}")


def failure_of(error: Exception) -> tuple[Failure, str] | None:
    """See store.py."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions

    reason = " ".join(str(error).split())
    if isinstance(error, exceptions.ClientError):
        return _kind_of(_code(error), error.response["ResponseMetadata"]["HTTPStatusCode"]), _said(error)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return Failure.NO_CREDENTIALS, "none (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, or a machine's role)"
    refused = exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError
    if isinstance(error, refused | exceptions.ProxyConnectionError):
        return Failure.REFUSED, reason
    broken = exceptions.HTTPClientError | exceptions.IncompleteReadError
    if isinstance(error, broken | ConnectionError | TimeoutError):
        return Failure.BUSY, reason
    if isinstance(error, PermissionError):
        return Failure.DENIED, str(error.strerror)
    return (Failure.OTHER, reason) if isinstance(error, exceptions.BotoCoreError | Boto3Error) else None


def _code(error) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _said(error) -> str:
    status, code = error.response["ResponseMetadata"]["HTTPStatusCode"], _code(error)
    return f"HTTP {status}" if code in ("", str(status)) else f"HTTP {status} {code}"


def _kind_of(code: str, status: int) -> Failure:
    if code == "NoSuchBucket":
        return Failure.NO_BUCKET
    if code in _BUSY or status == 429 or status >= 500:
        return Failure.BUSY
    if code in _ABSENT:
        return Failure.NO_OBJECT
    if status in (401, 403) or code in ("InvalidAccessKeyId", "ExpiredToken", "InvalidToken"):
        return Failure.DENIED
    return Failure.CHANGED if status in (409, 412) else Failure.OTHER
