"""The development server with real clients: ovmsclient, urllib, a browser, ours; under load, reload and kill."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import ovmsclient
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from bert_tf.errors import InputError
from bert_tf.serving import batching, models, saved_model
from bert_tf.serving.client import Client, ServingError
from bert_tf.serving.request_error import RequestError
from bert_tf.serving.version import Version
from bert_tf.tasks.task import INPUTS
from tests import served_models

ROOT = pathlib.Path(__file__).parent.parent
TASKS = tuple(served_models.TASKS)
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


@pytest.fixture(scope="module")
def served(exported, tmp_path_factory):
    """All models, requests batched; classification has the labels stable (1) and canary (2)."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("1", "00002"):  # leading zeros are a version's as well
        shutil.copytree(exported / "served/classification/1", folder / "versions" / name)
    path = folder / "models.config"
    path.write_text(
        "model_config_list {\n"
        + "".join(f'config {{ name: "{n}" base_path: "{exported / "served" / n}" }}\n' for n in TASKS)
        + f'config {{ name: "two" base_path: "{folder / "versions"}" model_version_policy {{ all {{}} }} '
        'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 } }\n}\n'
    )
    with running("--model_config_file", path, "--enable_batching") as server:
        yield server


def expected_probabilities(exported, texts):
    serve = tf.saved_model.load(str(exported / "served/classification/1")).signatures["serving_default"]
    return serve(text=tf.constant(texts))["probabilities"].numpy()


def test_an_independent_client_gets_status_metadata_and_predictions(served, exported):
    client = ovmsclient.make_grpc_client(served.grpc)
    status = client.get_model_status("classification")
    assert status[1]["state"] == "AVAILABLE" and status[1]["error_code"] == 0
    metadata = client.get_model_metadata("classification")
    assert metadata["model_version"] == 1
    assert metadata["inputs"]["text"]["dtype"] == "DT_STRING"
    assert set(metadata["outputs"]) == {"label", "labels", "probabilities"}
    answer = client.predict({"text": [TEXT, ""]}, "classification")
    np.testing.assert_allclose(answer["probabilities"], expected_probabilities(exported, [TEXT, ""]), atol=1e-5)
    with pytest.raises(ovmsclient.tfs_compat.base.errors.ModelNotFoundError):
        client.get_model_status("nobody")


def test_rest_answers_as_documented(served, exported):
    chances = expected_probabilities(exported, [TEXT, "b"])
    labels = served_models.TASKS["classification"][2]
    path = "/v1/models/classification"
    rows = served.post(f"{path}:predict", {"instances": [TEXT, {"text": "b"}]})["predictions"]
    for row, expected in zip(rows, chances, strict=True):
        assert row["labels"] == labels and row["label"] == labels[int(expected.argmax())]
        np.testing.assert_allclose(row["probabilities"], expected, atol=1e-5)
    outputs = served.post(f"{path}:predict", {"inputs": [TEXT, "b"], "signature_name": "serving_default"})["outputs"]
    np.testing.assert_allclose(outputs["probabilities"], chances, atol=1e-5)
    b64 = {"b64": "VGhlIENhZsOpIGluIE3DvG5jaGVuIG9wZW5lZCBhdCB0ZW4u"}
    (row,) = served.post(f"{path}:predict", {"instances": [b64]})["predictions"]
    np.testing.assert_allclose(row["probabilities"], chances[0], atol=1e-5)
    assert (
        served.post(f"{path}/versions/1:predict", {"instances": [TEXT]})["predictions"][0]["label"] == rows[0]["label"]
    )
    examples = {"signature_name": "classify", "examples": [{"text": TEXT}]}
    results = served.post(f"{path}:classify", examples)["results"]
    assert [label for label, _ in results[0]] == labels
    np.testing.assert_allclose([score for _, score in results[0]], chances[0], atol=1e-5)
    # One output alone goes without its name.
    pairs = {"instances": [{"text": "a", "second_text": "b"}]}
    (value,) = served.post("/v1/models/regression:predict", pairs)["predictions"]
    columns = {"inputs": {"text": ["a"], "second_text": ["b"]}}
    assert served.post("/v1/models/regression:predict", columns)["outputs"] == pytest.approx([value], abs=1e-6)
    examples = {"signature_name": "regress", "context": {"second_text": "b"}, "examples": [{"text": "a"}]}
    regressed = served.post("/v1/models/regression:regress", examples)
    assert regressed["results"] == pytest.approx([value], abs=1e-5)
    status = served.get(path)["model_version_status"]
    assert status == [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    metadata = served.get(f"{path}/metadata")
    assert metadata["model_spec"] == {"name": "classification", "signature_name": "", "version": "1"}
    assert (
        metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["text"]["dtype"]
        == "DT_STRING"
    )


def test_rest_errors(served):
    path = "/v1/models/classification:predict"
    for body, message in [
        (b"{", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b"[]", "JSON object"),
        ({}, '"instances" or "inputs"'),
        ({"instances": [], "inputs": []}, '"instances" or "inputs"'),
        ({"instances": []}, "not empty"),
        ({"instances": "text"}, "must be a list"),
        ({"instances": [1, 2]}, "text: expected string, received int64"),
        ({"instances": [None]}, "text: expected a string or a number, received null"),
        ({"instances": [["a", "b"]]}, "text: expected shape"),
        ({"instances": ["a", ["b"]]}, "lists of one length"),
        ({"instances": [{"b64": "%"}]}, "b64"),
        ({"instances": [{"words": "a"}]}, "expected the inputs ['text'], received ['words']"),
        ({"instances": [{"text": "a"}, {"words": "a"}]}, "the same inputs"),
        ({"inputs": "a"}, "text: expected shape"),
        ({"instances": ["a"], "signature_name": "nothing"}, "expected one of the signatures"),
        ({"instances": ["a"], "signature_name": 7}, "signature_name"),
        ({"inputs": {"input_word_ids": [[0.5]]}, "signature_name": "tokens"}, "expected the inputs"),
        ({"inputs": dict.fromkeys(INPUTS, [[0.5] * 32]), "signature_name": "tokens"}, "expected int32, received float"),
        ({"inputs": dict.fromkeys(INPUTS, [[2**33] * 32]), "signature_name": "tokens"}, "received 8589934592"),
        ({"instances": ["a"] * 33}, "at most 32 rows, received 33"),
    ]:
        code, error = served.refused(path, body)
        assert code == 400 and message in error, (body, code, error)
    classify, named = "/v1/models/classification:classify", {"signature_name": "classify"}
    for body in ({**named, "examples": []}, {**named, "examples": [{"words": "a"}]}, {"examples": [{"text": "a"}]}):
        assert served.refused(classify, body)[0] == 400
    assert served.refused("/v1/models/two/labels/x:predict", {"instances": ["a"]})[0] == 400
    for unknown in ("/v1/models/nobody:predict", "/v1/models/two/versions/9:predict", "/v1/models/two:dance", "/v2"):
        assert served.refused(unknown, {"instances": ["a"]})[0] == 404
    assert served.refused("/v1/models/nobody")[0] == 404
    code, error = served.refused(path, json.dumps({"instances": ["a" * 10_000_000]}).encode())
    assert code == 413 and "expected a body of at most 8388608 bytes" in error
    # A megabyte is not too much; it is cut as every text is.
    assert len(served.post(path, {"instances": ["word " * 200_000]})["predictions"]) == 1


def test_grpc_errors(served):
    with grpc.insecure_channel(served.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def code(**changes):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = changes.get("name", "classification")
            request.model_spec.signature_name = changes.get("signature", "")
            request.inputs["text"].CopyFrom(changes.get("text", tf.make_tensor_proto(["a"])))
            if "version" in changes:
                request.model_spec.version.value = changes["version"]
            if "label" in changes:
                request.model_spec.version_label = changes["label"]
            request.output_filter.extend(changes.get("filter", []))
            try:
                stub.Predict(request, timeout=30)
            except grpc.RpcError as error:
                return error.code().name
            return "OK"

        assert code() == "OK" and code(filter=["label"]) == "OK"
        assert code(name="two", label="canary") == code(name="two", version=1) == "OK"
        assert code(name="nobody") == code(version=9) == "NOT_FOUND"
        assert code(name="two", label="x") == code(filter=["nothing"]) == "INVALID_ARGUMENT"
        assert code(signature="nothing") == "FAILED_PRECONDITION"
        assert code(text=tf.make_tensor_proto("a scalar")) == code(text=tf.make_tensor_proto([1])) == "INVALID_ARGUMENT"
        assert code(text=tf.make_tensor_proto(["a" * 10_000_000])) == "RESOURCE_EXHAUSTED"
        broken = tf.make_tensor_proto([1.0, 2.0])
        broken.tensor_content = b"abc"
        assert code(text=broken) == "INVALID_ARGUMENT"
        huge = tf.make_tensor_proto(["a"])
        huge.tensor_shape.dim[0].size = 10**9  # a few bytes that ask for gigabytes
        assert code(text=huge) == "INVALID_ARGUMENT"

        request = classification_pb2.ClassificationRequest()
        request.model_spec.name, request.model_spec.signature_name = "classification", "classify"
        example = request.input.example_list.examples.add()
        example.features.feature["text"].bytes_list.value.append(TEXT.encode())
        classes = stub.Classify(request, timeout=30).result.classifications[0].classes
        assert [c.label for c in classes] == served_models.TASKS["classification"][2]
        assert sum(c.score for c in classes) == pytest.approx(1.0, abs=1e-5)
        request = regression_pb2.RegressionRequest()
        request.model_spec.name = "regression"
        with pytest.raises(grpc.RpcError) as error:
            stub.Regress(request, timeout=30)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_metrics_and_health(served):
    served.post("/v1/models/two:predict", {"instances": ["a"]})
    text = urllib.request.urlopen(f"http://{served.rest}/monitoring/prometheus/metrics", timeout=30).read().decode()
    assert re.search(r':tensorflow:serving:request_count\{model_name="two",status="OK"\} \d', text)
    assert ":tensorflow:serving:request_latency_bucket" in text
    assert 'model_name="nobody"' not in text
    assert urllib.request.urlopen(f"http://{served.rest}/healthz", timeout=30).read() == b"ok\n"


def test_labels_choose_versions(served):
    for label, number in (("stable", "1"), ("canary", "2")):
        (status,) = served.get(f"/v1/models/two/labels/{label}")["model_version_status"]
        assert status["version"] == number
        assert served.post(f"/v1/models/two/labels/{label}:predict", {"instances": ["a"]})["predictions"]
    assert [s["version"] for s in served.get("/v1/models/two")["model_version_status"]] == ["2", "1"]


@pytest.mark.parametrize("api", ["grpc", "rest"])
def test_our_client_of_either_api(served, exported, api):
    address = served.grpc if api == "grpc" else served.rest
    texts = [TEXT, "", "a\0", "😀"] * 20
    with Client(address, "classification", api=api) as client:
        found = client.classify(texts)
        np.testing.assert_allclose(
            [list(row.probabilities.values()) for row in found], expected_probabilities(exported, texts), atol=1e-5
        )
        assert found[0].label == max(found[0].probabilities, key=found[0].probabilities.get)
        assert client.predict({"text": [b"\xff"]})["label"].shape == (1,)
        with pytest.raises(ServingError, match="(FAILED_PRECONDITION|INVALID_ARGUMENT): .*signatures"):
            client.predict({"text": ["a"]}, "nothing")
        assert client.classify([]) == []
    with Client(address, "regression", api=api) as client:
        assert client.score(["a", "b"], ["c", "d"]).shape == (2,)
        with pytest.raises(ValueError, match="columns must be of one length"):
            client.score(["a", "b"], ["c"])
    with Client(address, "token_classification", api=api) as client:
        (tagged,) = client.tag([TEXT])
        assert [TEXT.encode()[w.begin : w.end].decode() for w in tagged.words] == TEXT.replace(".", " .").split()
        assert all(entity.text in TEXT for entity in tagged.entities)
    with Client(address, "question_answering", api=api) as client:
        for answer in client.answer(["When?", "Where?"], [TEXT, "Nobody knows."]):
            assert len(answer.n_best) >= 1 and (not answer.text or answer.text in TEXT + "Nobody knows.")
    with Client(address, "embedding", api=api, batch_size=1) as client:
        vectors = client.embed(["a", "b"])
        assert vectors.shape == (2, 16) and vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    with Client(address, "fill_mask", api=api) as client:
        none, two = client.fill_mask(["no mask", "[MASK] and [MASK]"])
        assert none.candidates == [] and [len(mask) for mask in two.candidates] == [5, 5]
        assert two.candidates[0][0][1] >= two.candidates[0][1][1] > 0
        ids = np.ones([1, 32], np.int64)
        rows = dict.fromkeys(INPUTS, ids) | {"masked_lm_positions": ids}
        assert client.predict(rows, "tokens")["masked_lm_logits"].shape == (1, 32, 30522)
    with Client(address, "multiple_choice", api=api) as client:
        chosen = client.choose(["a", "b"], [["x", "y", "z"], ["x"]], stem=["It", "It"])
        assert chosen[0] in (0, 1, 2) and chosen[1] == 0
    with Client(address, "two", api=api, version="canary") as client:
        assert len(client.classify(["a"])) == 1
    with Client(address, "two", api=api, version=9) as client, pytest.raises(ServingError, match="NOT_FOUND"):
        client.classify(["a"])


def test_ten_thousand_requests_while_a_new_version_comes(exported, tmp_path):
    """Eight clients, four a protocol; none of their requests fails or waits for ever, and version 2 takes over."""
    shutil.copytree(exported / "served/classification/1", tmp_path / "model/1")
    arguments = ["--model_name", "labels", "--model_base_path", tmp_path / "model", "--enable_batching"]
    texts = served_models.texts(64)
    expected = expected_probabilities(exported, texts)
    with running(*arguments, "--file_system_poll_wait_seconds", 0.2) as server:

        def ask(worker: int) -> int:
            api, answered = ("grpc", "rest")[worker % 2], 0
            address = server.grpc if api == "grpc" else server.rest
            with Client(address, "labels", api=api, timeout=60, retries=0) as client:
                for number in range(1250):
                    place = (worker + 8 * number) % 64
                    (row,) = client.predict({"text": [texts[place]]})["probabilities"]
                    np.testing.assert_allclose(row, expected[place], atol=1e-5)
                    answered += 1
            return answered

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, worker) for worker in range(8)]
            time.sleep(2)
            shutil.copytree(exported / "served/classification/1", tmp_path / "model/2")  # seen before it is whole
            assert sum(future.result(timeout=300) for future in asked) == 10_000
        assert [s["version"] for s in server.get("/v1/models/labels")["model_version_status"]] == ["2"]
        server.stop()


def test_a_killed_export_leaves_the_old_version_serving(exported, tmp_path):
    shutil.copytree(exported / "served/classification/1", tmp_path / "model/1")
    arguments = ["--model_name", "labels", "--model_base_path", tmp_path / "model"]
    with running(*arguments, "--file_system_poll_wait_seconds", 0.1) as server:
        command = [sys.executable, "-m", "bert_tf.export", "--model", exported / "models/classification"]
        export = subprocess.Popen([*command, "--output", tmp_path / "model"], cwd=ROOT, start_new_session=True)
        end = time.monotonic() + 120
        while not list((tmp_path / "model").glob(".export.*/saved_model.pb")) and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(export.pid, signal.SIGKILL)
        export.wait()
        left = sorted(path.name for path in (tmp_path / "model").iterdir())
        assert len(left) == 2 and left[0].startswith(".export.") and left[1] == "1"
        time.sleep(0.5)
        assert [s["version"] for s in server.get("/v1/models/labels")["model_version_status"]] == ["1"]
        assert server.post("/v1/models/labels:predict", {"instances": ["a"]})["predictions"]
    assert saved_model.export(str(exported / "models/classification"), str(tmp_path / "model")).endswith("/2")


def test_a_broken_version_is_told_and_the_old_one_goes_on(exported, tmp_path, capsys):
    shutil.copytree(exported / "served/classification/1", tmp_path / "1")
    (tmp_path / "2").mkdir()
    model = models.Model(models.ModelConfig("labels", str(tmp_path)))
    model.refresh()
    with pytest.raises(RequestError, match="Servable not found"):
        model.version(1)  # it is not wanted where there is a newer one, broken or not
    model = models.Model(models.ModelConfig("labels", str(tmp_path), latest=2))
    model.refresh()
    assert model.version().number == 1
    assert "version 2 could not be loaded" in capsys.readouterr().out
    assert [(number, state) for number, state, _ in model.states()] == [(2, 50), (1, 30)]  # END, AVAILABLE
    with pytest.raises(RequestError, match="Specific\\(labels, 2\\)"):
        model.version(2)


def test_reload_by_request(exported, tmp_path):
    shutil.copytree(exported / "served/classification/1", tmp_path / "a/1")
    arguments = ["--model_name", "a", "--model_base_path", tmp_path / "a"]
    with running(*arguments) as server, grpc.insecure_channel(server.grpc) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        request = model_management_pb2.ReloadConfigRequest()
        config = request.config.model_config_list.config.add(name="b", base_path=str(tmp_path / "none"))
        with pytest.raises(grpc.RpcError, match="expected numbered versions"):
            stub.HandleReloadConfigRequest(request, timeout=60)
        assert server.get("/v1/models/a")
        # Nor does a change of a model that is served, where another one fails.
        both = model_management_pb2.ReloadConfigRequest()
        changed = both.config.model_config_list.config.add(name="a", base_path=str(tmp_path / "a"))
        changed.model_version_policy.specific.versions.append(1)
        both.config.model_config_list.config.add(name="b", base_path=str(tmp_path / "none"))
        changed.version_labels["new"] = 1
        with pytest.raises(grpc.RpcError, match="expected numbered versions"):
            stub.HandleReloadConfigRequest(both, timeout=60)
        assert server.get("/v1/models/a") and server.refused("/v1/models/a/labels/new")[0] == 400
        stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=60)
        assert server.get("/v1/models/a")
        config.base_path = str(tmp_path / "a")
        stub.HandleReloadConfigRequest(request, timeout=60)
        assert server.get("/v1/models/b") and server.refused("/v1/models/a")[0] == 404


@pytest.mark.parametrize("api", ["grpc", "rest"])
def test_our_client_waits_for_a_server_that_comes_back(exported, api):
    arguments = ["--model_name", "a", "--model_base_path", exported / "served/classification"]
    with running(*arguments) as server:
        address = server.grpc if api == "grpc" else server.rest
        ports = [place.split(":")[1] for place in (server.grpc, server.rest)]
        with Client(address, "a", api=api, timeout=120, retries=20) as patient:
            assert patient.classify(["a"])  # over a connection that then breaks
            server.stop()
            with (
                Client(address, "a", api=api, retries=0) as impatient,
                pytest.raises(ServingError, match="UNAVAILABLE"),
            ):
                impatient.classify(["a"])
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                answer = pool.submit(patient.classify, ["a"])
                with running(*arguments, ports=ports):
                    assert answer.result(timeout=120)[0].label


def test_requests_in_flight_are_answered_when_the_server_stops(exported):
    arguments = ["--model_name", "a", "--model_base_path", exported / "served/question_answering"]
    asked = {"inputs": {"question": ["why?"] * 100, "context": ["a word and another one. " * 400] * 100}}
    with running(*arguments) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, "/v1/models/a:predict", asked)
        time.sleep(1)
        assert not answer.done()  # or this would show nothing
        server.stop()
        assert len(answer.result(timeout=60)["outputs"]["answer"]) == 100


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


@pytest.mark.skipif(
    not shutil.which("chromedriver") and not os.environ.get("CI"), reason="needs Debian's chromium and chromium-driver"
)
def test_the_page_answers_a_click(served):
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select, WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(f"http://{served.rest}/")
        WebDriverWait(driver, 30).until(lambda d: d.find_elements(By.TAG_NAME, "option"))

        def ask(model: str, **texts: str):
            Select(driver.find_element(By.ID, "model")).select_by_value(model)
            for name, text in texts.items():
                area = driver.find_element(By.NAME, name)
                area.clear()
                area.send_keys(text)
            driver.find_element(By.ID, "ask").click()
            answer = driver.find_element(By.ID, "answer")
            WebDriverWait(driver, 30).until(lambda _: answer.text not in ("", "…"))
            return answer

        expected = served.post("/v1/models/classification:predict", {"instances": [TEXT]})["predictions"][0]
        answer = ask("classification", text=TEXT)
        assert answer.find_element(By.CLASS_NAME, "main").text == expected["label"]
        bars = [bar.text.split("\n") for bar in answer.find_elements(By.CLASS_NAME, "bar")]
        shown = {label: float(share.removesuffix(" %")) for label, share in bars}
        assert shown == pytest.approx(
            {x: 100 * p for x, p in zip(expected["labels"], expected["probabilities"], strict=True)}, abs=0.06
        )
        expected = served.post("/v1/models/token_classification:predict", {"instances": [TEXT]})["predictions"][0]
        marks = ask("token_classification", text=TEXT).find_elements(By.TAG_NAME, "mark")
        names = zip(expected["entities"], expected["entity_types"], strict=True)
        assert [mark.text for mark in marks] == [text + kind for text, kind in names][: expected["entity_count"]]
        asked = {"question": "When did it open?", "context": TEXT}
        expected = served.post("/v1/models/question_answering:predict", {"instances": [asked]})["predictions"][0]
        answer = ask("question_answering", **asked)
        assert [mark.text for mark in answer.find_elements(By.TAG_NAME, "mark")] == [expected["answer"]] * bool(
            expected["answer"]
        )
    finally:
        driver.quit()
