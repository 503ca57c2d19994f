"""Counters of a server under TF Serving's names, for Prometheus."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client

from bert_tf.serving.request_error import RequestError

PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Of one server."""

    def __init__(self):
        self._registry = prometheus_client.CollectorRegistry()
        self._count = prometheus_client.Counter(
            ":tensorflow:serving:request_count",
            "Requests by model, API and status.",
            ["model_name", "API", "status"],
            registry=self._registry,
        )
        self._latency = prometheus_client.Histogram(
            ":tensorflow:serving:request_latency",
            "Seconds from request to answer (TF Serving's are in microseconds).",
            ["model_name", "API"],
            buckets=_SECONDS,
            registry=self._registry,
        )

    @contextmanager
    def request(self, model: str, api: str) -> Iterator[None]:
        """Counts what happens within."""
        begin, status = time.monotonic(), "OK"
        try:
            yield
        except RequestError as error:
            status = error.code.name
            # Names that nobody serves would fill the memory of who collects them.
            model = "" if status == "NOT_FOUND" else model
            raise
        finally:
            self._count.labels(model, api, status).inc()
            self._latency.labels(model, api).observe(time.monotonic() - begin)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return prometheus_client.generate_latest(self._registry)
