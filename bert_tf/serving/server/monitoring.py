"""Counters of a server, for Prometheus, under TF Serving's names and in its units."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client
from prometheus_client.core import HistogramMetricFamily, UntypedMetricFamily

from bert_tf.serving.server.request_error import RequestError

PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_COUNT, _LATENCY = ":tensorflow:serving:request_count", ":tensorflow:serving:request_latency"
_MICROSECONDS = tuple(10 * 2**power for power in range(22))  # 10 microseconds to 20 seconds


class Metrics:
    """Of one server."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()  # by model and status
        self._latencies: dict[tuple[str, str], tuple[list[int], float]] = {}  # by model and API: buckets, sum
        self._registry = prometheus_client.CollectorRegistry()
        self._registry.register(self)

    @contextmanager
    def request(self, model: str, api: str) -> Iterator[None]:
        """Counts what happens within."""
        begin, status = time.monotonic(), "INTERNAL"
        try:
            yield
            status = "OK"
        except RequestError as error:
            status = error.code.name
            # Names that nobody serves would fill the memory of who collects them.
            model = "" if status == "NOT_FOUND" else model
            raise
        finally:
            micros = (time.monotonic() - begin) * 1e6
            with self._lock:
                self._counts[model, status] += 1
                buckets, total = self._latencies.setdefault((model, api), ([0] * (len(_MICROSECONDS) + 1), 0.0))
                buckets[sum(micros > bound for bound in _MICROSECONDS)] += 1
                self._latencies[model, api] = buckets, total + micros

    def collect(self) -> Iterator:
        """What prometheus_client asks of a collector. Its own counters would add _total to the name."""
        with self._lock:
            counts = UntypedMetricFamily(_COUNT, "Requests.", labels=["model_name", "status"])
            for labels, count in self._counts.items():
                counts.add_metric(labels, count)
            latencies = HistogramMetricFamily(_LATENCY, "Microseconds of a request.", labels=["model_name", "API"])
            for labels, (buckets, total) in self._latencies.items():
                bounds, seen = [*map(str, _MICROSECONDS), "+Inf"], 0
                cumulative = [(bound, seen := seen + n) for bound, n in zip(bounds, buckets, strict=True)]
                latencies.add_metric(labels, cumulative, total)
        yield counts
        yield latencies

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return prometheus_client.generate_latest(self._registry)
