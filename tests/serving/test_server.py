"""The development server with real clients: ovmsclient, urllib, a browser, and this project's client."""

import itertools
import json
import os
import shutil
import socket

import grpc
import numpy as np
import ovmsclient
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from bert_tf.models.model import INPUTS
from bert_tf.serving.client.client import Client, ServingError
from bert_tf.serving.server import json_rows
from bert_tf.serving.server.errors import RequestError
from tests.support import served_models
from tests.support.serving_process import TEXT, expected_probabilities, running

TASKS = tuple(served_models.TASKS)


@pytest.fixture(scope="module")
def served(exported, tmp_path_factory):
    """All models, and `two` with two versions."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("1", "00002"):  # a version's number may have leading zeros
        shutil.copytree(exported / "served/classification/1", folder / name)
    paths = {name: exported / "served" / name for name in TASKS} | {"two": folder}
    arguments = [(f"--model_name={name}", f"--model_base_path={path}") for name, path in paths.items()]
    with running(*itertools.chain(*arguments)) as server:
        yield server


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
        ({"instances": ["a", 1]}, "text: expected strings or numbers, received both"),
    ]:
        code, error = served.refused(path, body)
        assert code == 400 and message in error, (body, code, error)
    classify, named = "/v1/models/classification:classify", {"signature_name": "classify"}
    for body in ({**named, "examples": []}, {**named, "examples": [{"words": "a"}]}, {"examples": [{"text": "a"}]}):
        assert served.refused(classify, body)[0] == 400
    code, error = served.refused(classify, {**named, "examples": [{"words": "a"}]})
    assert "Feature: text (data type: string) is required but could not be found" in error
    for unknown in ("/v1/models/nobody:predict", "/v1/models/two/versions/1:predict", "/v2"):
        assert served.refused(unknown, {"instances": ["a"]})[0] == 404
    # As TF Serving calls a path that begins like its own.
    for wrong in ("two:dance", f"two/versions/{'9' * 5000}:predict", "two/metadata", "two/labels/stable:predict"):
        code, error = served.refused(f"/v1/models/{wrong}", {"instances": ["a"]})
        assert code == 400 and error.startswith("Malformed request: ")
    assert served.refused("/v1/models/nobody")[0] == 404
    code, error = served.refused(path, json.dumps({"instances": ["a" * 10_000_000]}).encode())
    assert code == 413 and "expected a body of at most 8388608 bytes" in error
    # A megabyte is not too much; it is truncated as every text is.
    assert len(served.post(path, {"instances": ["word " * 200_000]})["predictions"]) == 1


def test_a_body_that_ends_early_is_refused(served):
    host, port = served.rest.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST /v1/models/two:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhello")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.0 400")


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
        assert code(name="two", version=2) == code(name="two", version=0) == "OK"
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
        one, none, two = client.tag_words([["The", "Café", "9/7"], [], ["alice-bob"]])
        assert [[w.text for w in row.words] for row in (one, none, two)] == [["The", "Café", "9/7"], [], ["alice-bob"]]
        assert all(entity.text in "The Café 9/7" for entity in one.entities)
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
    with Client(address, "two", api=api, version=2) as client:
        assert len(client.classify(["a"])) == 1
    # TF Serving has labels; the development server refuses them.
    with Client(address, "two", api=api, version="x") as client, pytest.raises(ServingError, match="INVALID_ARGUMENT"):
        client.classify(["a"])
    with Client(address, "two", api=api, version=9) as client, pytest.raises(ServingError, match="NOT_FOUND"):
        client.classify(["a"])


def test_outputs_without_rows_are_answered_by_column_only():
    found = {"total": np.float32(1.0), "table": np.arange(7)}
    assert json_rows.predictions(found, by_row=False) == {"outputs": {"total": 1.0, "table": list(range(7))}}
    with pytest.raises(RequestError, match='expected outputs of one batch size for "instances"'):
        json_rows.predictions(found, by_row=True)


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
