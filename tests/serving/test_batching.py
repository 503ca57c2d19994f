"""Requests that share a call, and the server's config files."""

import concurrent.futures
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.serving.server import batching, models, rest_json
from bert_tf.serving.server.request_error import RequestError
from bert_tf.serving.server.version import Version
from tests.support import served_models
from tests.support.serving_process import ROOT, expected_probabilities


def test_a_full_batch_does_not_wait_behind_another_model(exported):
    """Two threads: while one runs a slow model, the other takes what comes."""
    slow, fast = (Version(str(exported / "served" / name / "1")) for name in ("classification", "embedding"))
    release, run = threading.Event(), slow.run
    slow.run = lambda *arguments: release.wait() and run(*arguments)
    runner = batching.Runner(batching.BatchingConfig(batch_timeout_micros=1000, num_batch_threads=2))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(runner.run, slow, "", {"text": ["a"]}, 60)
        time.sleep(0.1)
        for _ in range(5):
            assert runner.run(fast, "", {"text": ["a"]}, 10)["embedding"].shape == (1, 16)
        release.set()
        assert waiting.result(60)
    runner.stop()


def test_a_model_of_others_whose_outputs_have_no_rows(tmp_path):
    module = tf.Module()
    module.serve = tf.function(
        lambda x: {"total": tf.reduce_sum(x), "table": tf.range(7)}, input_signature=[tf.TensorSpec([None], tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.serve)
    version = Version(str(tmp_path / "1"))
    runner = batching.Runner(batching.BatchingConfig(batch_timeout_micros=200_000, num_batch_threads=1))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: runner.run(version, "", {"x": [float(n)]}, 60), range(4)))
    assert [float(row["total"]) for row in found] == [0.0, 1.0, 2.0, 3.0]
    assert all(row["table"].shape == (7,) for row in found)
    runner.stop()
    assert rest_json.predictions(found[0], by_row=False) == {"outputs": {"total": 0.0, "table": list(range(7))}}
    with pytest.raises(RequestError, match='expected outputs of one batch size for "instances"'):
        rest_json.predictions(found[0], by_row=True)


def test_requests_that_wait_together_run_together(exported):
    version = Version(str(exported / "served/classification/1"))
    calls, run = [], version.run
    version.run = lambda signature, inputs: calls.append(len(inputs["text"])) or run(signature, inputs)
    runner = batching.Runner(
        batching.BatchingConfig(max_batch_size=8, batch_timeout_micros=300_000, num_batch_threads=1)
    )
    texts = served_models.texts(24)
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda text: runner.run(version, "", {"text": [text]}, 60), texts))
    np.testing.assert_allclose(
        np.concatenate([row["probabilities"] for row in found]), expected_probabilities(exported, texts), atol=1e-5
    )
    assert sum(calls) == 24 and len(calls) <= 6 and max(calls) == 8
    with pytest.raises(RequestError, match="expected shape"):
        runner.run(version, "", {"text": [["a"]]}, 60)
    runner.stop()
    with pytest.raises(RequestError, match="the server stops"):
        runner.run(version, "", {"text": ["a"]}, 60)


def test_too_many_and_too_slow_requests_are_refused(exported):
    version = Version(str(exported / "served/classification/1"))
    release, run = threading.Event(), version.run
    version.run = lambda *arguments: release.wait() and run(*arguments)
    runner = batching.Runner(batching.BatchingConfig(max_batch_size=1, num_batch_threads=1, max_enqueued=1))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        first = pool.submit(runner.run, version, "", {"text": ["a"]}, 60)
        time.sleep(0.2)
        with pytest.raises(RequestError, match="no answer within 0.1 s"):
            runner.run(version, "", {"text": ["a"]}, 0.1)
        second = pool.submit(runner.run, version, "", {"text": ["a"]}, 60)
        time.sleep(0.2)
        with pytest.raises(RequestError, match="requests that wait already: 1"):
            runner.run(version, "", {"text": ["a"]}, 60)
        release.set()
        assert first.result(60)["label"].shape == second.result(60)["label"].shape == (1,)
    runner.stop()


@pytest.mark.parametrize(
    ("text", "message"),
    [("max_batch_size: 8", "Received: max_batch_size: 8"), ("max_batch { value: 8 }", "Received: max_batch")],
)
def test_strange_batching_parameters(tmp_path, text, message):
    path = tmp_path / "batching.config"
    path.write_text("batch_timeout_micros { value: 5 }\n" + text)
    with pytest.raises(InputError, match=message):
        batching.read_config(str(path))


def test_configs_of_the_repository_are_read(tmp_path):
    config = batching.read_config(str(ROOT / "serving/batching.config"))
    assert config.max_batch_size == 32
    found = models.read_config(str(ROOT / "serving/models.config"))
    assert found[0].labels and found[0].name == "labels"
    (tmp_path / "bad").write_text("model_config_list { nothing }")
    with pytest.raises(InputError, match="expected a ModelServerConfig"):
        models.read_config(str(tmp_path / "bad"))
