"""A process of bert_tf.serve and its addresses, for the tests."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[2]
TEXT = "The Café in München opened at ten."


class Served:
    """A server process and its addresses."""

    def __init__(self, process, rest: str, grpc_address: str):
        self.process, self.rest, self.grpc = process, rest, grpc_address

    def get(self, path: str):
        return json.loads(urllib.request.urlopen(f"http://{self.rest}{path}", timeout=30).read())

    def post(self, path: str, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.rest}{path}", data=data)
        return json.loads(urllib.request.urlopen(request, timeout=60).read())

    def refused(self, path: str, body=None) -> tuple[int, str]:
        with pytest.raises(urllib.error.HTTPError) as error:
            self.get(path) if body is None else self.post(path, body)
        return error.value.code, json.loads(error.value.read())["error"]

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0


@contextlib.contextmanager
def running(*arguments, ports=(0, 0)):
    command = [sys.executable, "-m", "bert_tf.serve", "--port", str(ports[0]), "--rest_api_port", str(ports[1])]
    process = subprocess.Popen([*command, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stdout.readline, "")
        line = next(line for line in lines if "gRPC on" in line)
        threading.Thread(target=lambda: list(lines), daemon=True).start()  # or the pipe fills up
        rest = re.search(r"REST on http://([^/]+)/", line).group(1)
        yield Served(process, rest, re.search(r"gRPC on ([^,]+),", line).group(1))
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


def expected_probabilities(exported, texts):
    serve = tf.saved_model.load(str(exported / "served/classification/1")).signatures["serving_default"]
    return serve(text=tf.constant(texts))["probabilities"].numpy()
