"""A local development server that speaks TF Serving's gRPC and REST APIs. For production run TF Serving itself.

REST is served by Werkzeug, the library below Flask: it is well kept, has routing, body limits and a threaded server,
and TensorBoard installs it anyway.
"""

import concurrent.futures
import logging
import socket
import threading

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from werkzeug.serving import WSGIRequestHandler, make_server

from bert_tf.core.errors import InputError
from bert_tf.serving.server.grpc_api import Services
from bert_tf.serving.server.models import Models
from bert_tf.serving.server.rest import RestApi

_MAX_REQUEST_BYTES = 8 * 2**20
_GRPC_THREADS = 8
_GRACE = 30.0  # seconds that gRPC requests in flight have when the server stops


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.0"  # one request a connection, so that no idle connection delays the stop
    timeout = 5.0  # seconds that a client may stay silent, such as a browser that connects ahead of a request


class Server:
    """Both APIs on loopback ports. Use as a context manager; at the end it answers the requests in flight.

    Args:
      models: the served models.
      port: of gRPC; 0 chooses a free one.
      rest_api_port: of REST and the page; 0 chooses a free one.

    Raises:
      InputError: a port is taken.
    """

    def __init__(self, models: Models, *, port: int, rest_api_port: int):
        # Without so_reuseport=0 a second server would silently share the port with the first.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES)]
        options.append(("grpc.max_send_message_length", -1))
        self._grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(_GRPC_THREADS), options=options)
        services = Services(models)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, self._grpc)
        try:
            self.port = self._grpc.add_insecure_port(f"localhost:{port}")
            # Werkzeug itself would end the process if the port is taken.
            listener = socket.create_server(("localhost", rest_api_port), backlog=128)
        except (OSError, OverflowError, RuntimeError) as error:
            raise InputError(
                f"--port {port}, --rest_api_port {rest_api_port}: expected free ports. Received: {error}."
            ) from None
        with listener:  # Werkzeug makes a copy
            application = RestApi(models, _MAX_REQUEST_BYTES)
            self._rest = make_server(
                "localhost", 0, application, threaded=True, request_handler=_Handler, fd=listener.fileno()
            )
        self.rest_api_port = self._rest.port
        self._rest.daemon_threads = False  # type: ignore[attr-defined]  # so that it waits for them when it stops
        self._thread = threading.Thread(target=self._rest.serve_forever, kwargs={"poll_interval": 0.1})
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request

    def __enter__(self):
        self._grpc.start()
        self._thread.start()
        return self

    def __exit__(self, *_):
        stopped = self._grpc.stop(grace=_GRACE)
        self._rest.shutdown()
        self._thread.join()
        stopped.wait()
