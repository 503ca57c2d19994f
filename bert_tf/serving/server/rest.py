"""TF Serving's REST API, and a page to try the models in a browser."""

import contextlib
import http.server
import importlib.resources
import json
import re
import urllib.parse
from collections.abc import Callable

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from bert_tf.serving.server import monitoring, rest_json
from bert_tf.serving.server.batching import Runner
from bert_tf.serving.server.models import Models
from bert_tf.serving.server.monitoring import Metrics
from bert_tf.serving.server.request_error import RequestError, invalid, not_found, too_large
from bert_tf.serving.server.version import Version

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?P<metadata>/metadata)?(?::(?P<verb>predict|classify|regress))?"
)
_JSON = "application/json"
_PATIENCE = 30.0  # seconds
_MOST_DRAINED, _PIECE = 64 * 2**20, 2**16  # bytes of a body that is too large
_State = get_model_status_pb2.ModelVersionStatus.State


class Api:
    """What the paths answer: (content type, body).

    Args:
      models: what is served.
      runner: runs requests.
      metrics: counts them.
      timeout: seconds for a request.
    """

    def __init__(self, models: Models, runner: Runner, metrics: Metrics, timeout: float):
        self._models, self._runner, self._metrics, self._timeout = models, runner, metrics, timeout

    def get(self, path: str) -> tuple[str, bytes]:
        """Status and metadata of models, counters, health, and the page."""
        if path in ("/", "/index.html"):
            page = importlib.resources.files(__package__).joinpath("page.html").read_bytes()
            return "text/html; charset=utf-8", page
        if path == monitoring.PATH:
            return monitoring.CONTENT_TYPE, self._metrics.text()
        if path == "/healthz":
            return "text/plain", b"ok\n"
        if path == "/v1/models":  # what the page begins with; TF Serving has no such list
            found = {name: self._models.model(name).version() for name in self._models.names()}
            return _JSON, _dumped({name: {"version": v.number, **v.description} for name, v in found.items()})
        parts = self._parts(path)
        if parts["verb"]:
            raise invalid(f"{path}: expected POST, received GET")
        if parts["metadata"]:
            return _JSON, _dumped(_metadata(parts["name"], self._version(parts)))
        return _JSON, _dumped(self._status(parts))

    def post(self, path: str, read: Callable[[], bytes]) -> tuple[str, bytes]:
        """Predictions, classifications and regressions; `read` gives the body."""
        match = _PATH.fullmatch(_plain(path))
        name, verb = (match["name"], match["verb"]) if match else ("", "")
        # Names that nobody serves would fill the memory of who collects them.
        with self._metrics.request(name if name in self._models.names() else "", f"REST {verb or 'POST'}"):
            body = read()  # whatever is wrong with the path, or the next request would begin with it
            parts = self._parts(path)
            if not verb or parts["metadata"]:
                raise invalid(f"Malformed request: POST {path}")
            version = self._version(parts)
            request = rest_json.parse(body)
            signature = request.get("signature_name", "")
            if not isinstance(signature, str):
                raise invalid(f"signature_name: expected a string, received {json.dumps(signature)[:40]}")
            if parts["verb"] == "predict":
                inputs, by_row = rest_json.inputs_of(request, version.input_names(signature))
                outputs = self._runner.run(version, signature, inputs, self._timeout)
                return _JSON, _dumped(rest_json.predictions(outputs, by_row))
            version.check_method(signature, parts["verb"])
            inputs = {"inputs": rest_json.examples_of(request)}
            outputs = self._runner.run(version, signature, inputs, self._timeout)
            made = rest_json.classifications if parts["verb"] == "classify" else rest_json.regressions
            return _JSON, _dumped(made(outputs))

    def _parts(self, path: str) -> dict[str, str]:
        """What a path is made of; \"\" for what it does not have."""
        match = _PATH.fullmatch(_plain(path))
        if match is None:  # as TF Serving has it, which knows nothing but /v1/
            error = invalid if path.startswith("/v1/") else not_found
            raise error(f"Malformed request: {path}")
        return match.groupdict("")

    def _version(self, parts: dict[str, str]) -> Version:
        number = int(parts["version"]) if parts["version"] else None
        return self._models.model(parts["name"]).version(number, parts["label"] or None)

    def _status(self, parts: dict[str, str]) -> dict:
        number = int(parts["version"]) if parts["version"] else None
        return {
            "model_version_status": [
                {
                    "version": str(number),
                    "state": _State.Name(state),
                    "status": {"error_code": "UNKNOWN" if reason else "OK", "error_message": reason},
                }
                for number, state, reason in self._models.model(parts["name"]).states(number, parts["label"])
            ]
        }


def _plain(path: str) -> str:
    """A path without its query and percent signs."""
    return urllib.parse.unquote(path.split("?")[0])


def _metadata(name: str, version: Version) -> dict:
    found = get_model_metadata_pb2.SignatureDefMap()
    for signature, value in version.signature_defs.items():
        found.signature_def[signature].CopyFrom(value)
    told = json_format.MessageToDict(found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version.number)},
        "metadata": {"signature_def": told},
    }


def _dumped(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def handler(api: Api, max_request_bytes: int) -> type[http.server.BaseHTTPRequestHandler]:
    """A class of request handlers for http.server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self):
            self.timeout = _PATIENCE  # with a client that begins a request and does not end it, or stays idle
            super().setup()

        def do_GET(self):  # noqa: N802 - the library's name
            if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
                self.close_connection = True  # or a body that nobody reads would be the next request
            with self.server.busy():
                self._answer(lambda: api.get(self.path))

        def do_POST(self):  # noqa: N802 - the library's name
            with self.server.busy():
                self._answer(lambda: api.post(self.path, self._body))

        def _body(self) -> bytes:
            if "Transfer-Encoding" in self.headers:
                self.close_connection = True
                raise invalid("expected a Content-Length, received a body in chunks")
            given = self.headers.get("Content-Length", "0")
            length = int(given) if given.isdecimal() and len(given) < 16 else -1
            if not 0 <= length <= max_request_bytes:
                self.close_connection = True
                message = f"expected a body of at most {max_request_bytes} bytes, received {given}"
                if length < 0:
                    raise invalid(message)
                # A client that sends before it reads would not see the answer to what was left unread.
                left = min(length, _MOST_DRAINED)
                while left > 0 and (piece := self.rfile.read(min(_PIECE, left))):
                    left -= len(piece)
                raise too_large(message)
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                raise invalid(f"expected a body of {length} bytes, received {len(body)}")
            return body

        def _answer(self, make) -> None:
            try:
                code, (content_type, data) = 200, make()
            except RequestError as error:
                code, content_type, data = error.http, _JSON, _dumped({"error": str(error)})
            except TimeoutError:
                self.close_connection = True
                return
            except Exception as error:  # a request must never take the server's connection down
                code, content_type, data = 500, _JSON, _dumped({"error": f"{type(error).__name__}: {error}"})
            with contextlib.suppress(ConnectionError, TimeoutError):  # the client may have left
                self.send_response(code)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(data)))
                if self.close_connection:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    return Handler
