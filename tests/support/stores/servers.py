"""Servers of S3 and Google Cloud Storage on this machine, and a proxy before them that can fail."""

import contextlib
import http.client
import http.server
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from bert_tf.core.stores import objects

BUCKET = "bucket"
_COMMANDS = {
    "s3": lambda port: [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
    "gs": lambda port: [
        *(str(pathlib.Path(sys.executable).parent / "gcp-storage-emulator"), "start", "--in-memory", "--quiet"),
        *("--host", "127.0.0.1", "--port", str(port), "--default-bucket", BUCKET),
    ],
}
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def environment(scheme: str, port: int) -> dict[str, str]:
    """The variables with which both Beam's workers and training find the server."""
    address = f"http://127.0.0.1:{port}"
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true", "AWS_CONFIG_FILE": os.devnull}
    place = {"AWS_ENDPOINT_URL": address, **_CREDENTIALS} if scheme == "s3" else {"STORAGE_EMULATOR_HOST": address}
    return {**nowhere, **place}


@contextlib.contextmanager
def serving(scheme: str, port: int | None = None, more: dict[str, str] | None = None) -> Iterator[int]:
    """A server with an empty bucket; yields its port. Kills it at the end."""
    port = port or free_port()
    process = subprocess.Popen(
        _COMMANDS[scheme](port),
        env={**os.environ, **(more or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(process, port)
        if scheme == "s3":
            client(port).create_bucket(Bucket=BUCKET)
        yield port
    finally:
        process.kill()
        process.wait()


def client(port: int):
    """boto3's client of a server, for what the tests look at by themselves."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )


def forget_clients() -> None:
    """Lets this process read the environment anew: it makes a client of each store once."""
    objects._store.cache_clear()
    for contact in objects._CONTACTS.values():
        contact.was_reached = contact.is_lost = False


def _wait(process: subprocess.Popen, port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"no server answers on port {port}")


class Proxy:
    """Passes requests on, or answers them itself.

    Attributes:
      answer: a status to answer with instead of the server, such as 503; 0 drops the connection; None passes all on.
      seen: requests so far.
    """

    def __init__(self, upstream: int):
        self.answer: int | None = None
        self.seen = 0
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                self.raw_requestline = self.rfile.readline(1 << 16)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self._body()
                proxy.seen += 1
                if proxy.answer == 0:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif proxy.answer is not None:
                    self._reply(proxy.answer, [], b"")
                else:
                    self._forward(body)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                whole = b""
                while size := int(self.rfile.readline(), 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return whole

            def _forward(self, body: bytes) -> None:
                there = http.client.HTTPConnection("127.0.0.1", upstream, timeout=30)
                skipped = ("content-length", "transfer-encoding", "expect", "connection")
                headers = {name: value for name, value in self.headers.items() if name.lower() not in skipped}
                there.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
                answer = there.getresponse()
                self._reply(answer.status, answer.getheaders(), answer.read())
                there.close()

            def _reply(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
                self.send_response_only(status)
                length = {name.lower(): value for name, value in headers}.get("content-length")
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def proxied(scheme: str, *, patience: int) -> Iterator[Proxy]:
    """A proxy before a server, which this process finds by its environment and retries for `patience` seconds."""
    with serving(scheme) as port, pytest.MonkeyPatch.context() as patch:
        proxy = Proxy(port)
        for name, value in {**environment(scheme, proxy.port), "BERT_TF_STORE_PATIENCE": str(patience)}.items():
            patch.setenv(name, value)
        forget_clients()
        yield proxy
        proxy.close()
    forget_clients()
