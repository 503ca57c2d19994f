"""TF Serving's REST API, and a page to try the models in a browser."""

import importlib.resources
import json

from google.protobuf import json_format
from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, Map, Rule

from bert_tf.core.errors import reason_of
from bert_tf.serving.server import json_rows
from bert_tf.serving.server.errors import RequestError, invalid
from bert_tf.serving.server.models import Models


class _Name(BaseConverter):
    regex = "[^/:]+"


class _Version(BaseConverter):
    regex = r"\d{1,18}"

    def to_python(self, value: str) -> int:
        return int(value)


_MODEL = "/v1/models/<name:name>"
_ONE_VERSION = f"{_MODEL}/versions/<version:number>"
_ROUTES = Map(
    [
        Rule("/", endpoint="page", methods=["GET"]),
        Rule("/v1/models", endpoint="models", methods=["GET"]),  # for the page; TF Serving has no such list
        *(Rule(path, endpoint="status", methods=["GET"]) for path in (_MODEL, _ONE_VERSION)),
        *(Rule(f"{path}/metadata", endpoint="metadata", methods=["GET"]) for path in (_MODEL, _ONE_VERSION)),
        *(
            Rule(f"{path}:<any(predict, classify, regress):method>", endpoint="run", methods=["POST"])
            for path in (_MODEL, _ONE_VERSION)
        ),
    ],
    converters={"name": _Name, "version": _Version},
    merge_slashes=False,
)


class RestApi:
    """A WSGI application.

    Args:
      models: the served models.
      max_request_bytes: limit of a request's body.
    """

    def __init__(self, models: Models, max_request_bytes: int):
        self._models, self._max_request_bytes = models, max_request_bytes

    def __call__(self, environ, start_response):
        request = Request(environ)
        request.max_content_length = self._max_request_bytes
        try:
            response = self._answer(request)
        except RequestError as error:
            response = _json({"error": str(error)}, error.http)
        except HTTPException as error:
            response = self._http_error(request, error)
        except Exception as error:  # a bug, which the client should see as TF Serving's other errors
            response = _json({"error": f"{type(error).__name__}: {reason_of(error)}"}, 500)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        endpoint, arguments = _ROUTES.bind_to_environ(request.environ).match()
        if endpoint == "page":
            page = importlib.resources.files(__package__).joinpath("page.html").read_bytes()
            return Response(page, mimetype="text/html")
        if endpoint == "models":
            found = [(name, self._models.version(name)) for name in self._models.names()]
            return _json({name: {"version": version.number, **version.description} for name, version in found})
        if endpoint == "status":
            return _message(self._models.status(**arguments))
        if endpoint == "metadata":
            return _message(self._models.metadata(**arguments))
        return self._run(request, **arguments)

    def _run(self, request: Request, method: str, name: str, number: int | None = None) -> Response:
        version = self._models.version(name, number)
        body = json_rows.parse(request.get_data())
        signature = body.get("signature_name", "")
        if not isinstance(signature, str):
            raise invalid(f"signature_name: expected a string, received {json.dumps(signature)[:40]}")
        if method == "predict":
            inputs, by_row = json_rows.inputs_of(body, sorted(version.specs(signature)))
            return _json(json_rows.predictions(version.run(signature, inputs), by_row))
        version.check_method(signature, method)
        return _json(json_rows.results(version.run(signature, {"inputs": json_rows.examples_of(body)})))

    def _http_error(self, request: Request, error: HTTPException) -> Response:
        if error.code == 413:
            return _json({"error": f"expected a body of at most {self._max_request_bytes} bytes"}, 413)
        # TF Serving calls every other path below /v1/ malformed.
        code = 400 if request.path.startswith("/v1/") else error.code
        return _json({"error": f"Malformed request: {request.method} {request.path}"}, code)


def _json(value, code: int | None = 200) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), code, mimetype="application/json")


def _message(message) -> Response:
    return _json(
        json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )
