"""A local development server that speaks TF Serving's gRPC and REST APIs. For production run TF Serving itself."""

import concurrent.futures
import contextlib
import http.server
import threading
from collections.abc import Iterator

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from bert_tf.core.errors import InputError
from bert_tf.serving.server import rest_api
from bert_tf.serving.server.batching import Runner
from bert_tf.serving.server.grpc_api import Services
from bert_tf.serving.server.models import Models
from bert_tf.serving.server.monitoring import Metrics

_GRPC_THREADS = 32  # most of which wait for a batch
_GRPC_CALLS = 1000
_PATIENCE = 30.0  # seconds for requests in flight when the server stops


class _HttpServer(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # connections that may wait to be accepted
    daemon_threads = True  # or connections that are kept open would keep the process

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._busy, self._changed = 0, threading.Condition()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """While a request is answered."""
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def wait_until_idle(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, seconds)


class Server:
    """Both APIs on loopback ports. Use as a context manager.

    Args:
      models: what is served.
      runner: runs the requests.
      port, rest_api_port: 0 chooses a free one.
      max_request_bytes: of one request.
      timeout: seconds of a REST request; gRPC requests bring their own.

    Raises:
      InputError: a port is taken.
    """

    def __init__(
        self,
        models: Models,
        runner: Runner,
        *,
        port: int,
        rest_api_port: int,
        max_request_bytes: int = 8 * 1024 * 1024,
        timeout: float = 30.0,
    ):
        self._models, self._runner = models, runner
        metrics = Metrics()
        # Without so_reuseport a second server would silently share the port with the first.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", max_request_bytes)]
        options.append(("grpc.max_send_message_length", -1))
        pool = concurrent.futures.ThreadPoolExecutor(max_workers=_GRPC_THREADS)
        # More are refused at once rather than kept waiting for a thread.
        self._grpc = grpc.server(pool, options=options, maximum_concurrent_rpcs=_GRPC_CALLS)
        services = Services(models, runner, metrics)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, self._grpc)
        handler = rest_api.handler(rest_api.Api(models, runner, metrics, timeout), max_request_bytes)
        try:
            self.port = self._grpc.add_insecure_port(f"localhost:{port}")
            self._rest = _HttpServer(("localhost", rest_api_port), handler)
        except (OSError, OverflowError, RuntimeError) as error:
            raise InputError(
                f"--port {port}, --rest_api_port {rest_api_port}: expected free ports. Received: {error}."
            ) from None
        self.rest_api_port = self._rest.server_address[1]

    def __enter__(self):
        self._models.start()
        self._grpc.start()
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._models.stop()
        self._rest.shutdown()
        self._rest.server_close()
        stopped = self._grpc.stop(grace=_PATIENCE)
        self._rest.wait_until_idle(_PATIENCE)
        stopped.wait()
        self._runner.stop()

    def wait(self) -> None:
        """Until the process is interrupted."""
        self._grpc.wait_for_termination()
