"""A server under load while versions come, go and break, and while it stops itself."""

import concurrent.futures
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from bert_tf.serving.client.client import Client, ServingError
from bert_tf.serving.export import saved_model
from bert_tf.serving.server.models import Model, Models
from bert_tf.serving.server.server import Server
from tests.support import served_models
from tests.support.serving_process import ROOT, expected_probabilities, running


def test_no_request_fails_while_a_new_version_comes(exported, tmp_path):
    """Eight clients, four a protocol: five hundred requests at least, until version 2 has taken over and answered some.
    None of them fails or waits for ever."""
    shutil.copytree(exported / "served/classification/1", tmp_path / "model/1")
    arguments = ["--model_name", "labels", "--model_base_path", tmp_path / "model"]
    texts = served_models.texts(64)
    expected = expected_probabilities(exported, texts)
    with running(*arguments, "--file_system_poll_wait_seconds", 0.2) as server:
        taken_over = threading.Event()

        def ask(worker: int) -> int:
            api, answered = ("grpc", "rest")[worker % 2], 0
            address = server.grpc if api == "grpc" else server.rest
            end = time.monotonic() + 120
            with Client(address, "labels", api=api, timeout=60, retries=0) as client:
                is_new = False
                while answered < 63 or not is_new:
                    assert time.monotonic() < end, "version 2 never took over"
                    is_new = taken_over.is_set()
                    place = (worker + 8 * answered) % 64
                    (row,) = client.predict({"text": [texts[place]]})["probabilities"]
                    np.testing.assert_allclose(row, expected[place], atol=1e-5)
                    answered += 1
            return answered

        def states() -> list[tuple[str, str]]:
            return [(s["version"], s["state"]) for s in server.get("/v1/models/labels")["model_version_status"]]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, worker) for worker in range(8)]
            time.sleep(0.5)
            shutil.copytree(exported / "served/classification/1", tmp_path / "model/2")  # seen before it is whole
            end = time.monotonic() + 60
            while states() != [("2", "AVAILABLE")] and time.monotonic() < end:
                time.sleep(0.1)
            taken_over.set()
            assert sum(future.result(timeout=120) for future in asked) >= 500
        assert states() == [("2", "AVAILABLE")]
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


def test_a_broken_version_has_a_status_of_either_api(exported, tmp_path):
    shutil.copytree(exported / "served/classification/1", tmp_path / "model/1")
    arguments = ["--model_name", "labels", "--model_base_path", tmp_path / "model"]
    with running(*arguments, "--file_system_poll_wait_seconds", 0.1) as server:
        (tmp_path / "model/2").mkdir()
        end = time.monotonic() + 60
        while len(server.get("/v1/models/labels")["model_version_status"]) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        broken, good = server.get("/v1/models/labels")["model_version_status"]
        assert (broken["version"], broken["state"]) == ("2", "END") and broken["status"]["error_message"]
        assert broken["status"]["error_code"] == "UNKNOWN"
        assert (good["version"], good["state"], good["status"]["error_code"]) == ("1", "AVAILABLE", "OK")
        assert server.get("/v1/models/labels/versions/2")["model_version_status"] == [broken]
        assert server.refused("/v1/models/labels/versions/3")[0] == 404
        assert server.post("/v1/models/labels:predict", {"instances": ["a"]})["predictions"]
        with grpc.insecure_channel(server.grpc) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            request = get_model_status_pb2.GetModelStatusRequest()
            request.model_spec.name = "labels"
            states = stub.GetModelStatus(request, timeout=30).model_version_status
            assert [(s.version, s.state) for s in states] == [(2, 50), (1, 30)]
            assert states[0].status.error_code == 2
            assert states[0].status.error_message == broken["status"]["error_message"]


def test_a_model_without_a_version_is_reported(command, tmp_path):
    (tmp_path / "model/1").mkdir(parents=True)
    told = command("bert_tf.serve", "--model_name", "labels", "--model_base_path", str(tmp_path / "model"))
    assert told.returncode == 1
    assert "expected numbered versions as bert_tf.export writes them. Received one that fails: " in told.stderr
    told = command("bert_tf.serve", "--model_name", "labels", "--model_base_path", str(tmp_path))
    assert told.returncode == 1 and told.stderr.strip().endswith("Received none.")


def test_each_model_needs_a_name_and_a_folder(command, tmp_path):
    paths = [f"--model_base_path={tmp_path}"] * 2
    for arguments in (["--model_name=a"], ["--model_name=a", *paths], ["--model_name=a", "--model_name=a", *paths]):
        done = command("bert_tf.serve", *arguments)
        assert done.returncode == 1 and "a different name and a folder for each model. Received: " in done.stderr


def test_ports_that_are_taken_are_reported(command, exported):
    arguments = ["--model_name", "labels", "--model_base_path", exported / "served/classification"]
    with running(*arguments) as server:
        port = server.rest.rsplit(":", 1)[1]
        told = command("bert_tf.serve", *arguments, "--port", 0, "--rest_api_port", port)
    assert told.returncode == 1 and f"--rest_api_port {port}: expected free ports. Received: " in told.stderr


def test_a_broken_version_is_reported_once_and_the_old_one_goes_on(exported, tmp_path, capsys):
    shutil.copytree(exported / "served/classification/1", tmp_path / "1")
    model = Model("labels", str(tmp_path))
    model.refresh()
    (tmp_path / "2").mkdir()
    (tmp_path / "2/saved_model.pb").write_bytes(b"broken")
    for _ in range(3):
        model.refresh()
        assert model.version.number == 1
    assert capsys.readouterr().out.count("version 2 could not be loaded") == 1
    assert model.failure[0] == 2 and model.failure[1]
    # A version that changed is tried again.
    shutil.rmtree(tmp_path / "2")
    shutil.copytree(exported / "served/classification/1", tmp_path / "2")
    model.refresh()
    assert model.version.number == 2 and model.failure is None
    # When the newest is deleted, the one before it is served again, and a broken one that is gone is forgotten.
    shutil.rmtree(tmp_path / "2")
    (tmp_path / "3").mkdir()
    model.refresh()
    assert model.version.number == 2 and model.failure[0] == 3
    (tmp_path / "3").rmdir()
    model.refresh()
    assert model.version.number == 1 and model.failure is None


def test_a_version_with_new_files_under_its_number_is_loaded(exported, tmp_path, capsys):
    shutil.copytree(exported / "served/classification/1", tmp_path / "1")
    model = Model("labels", str(tmp_path))
    model.refresh()
    first = model.version
    shutil.rmtree(tmp_path / "1")
    model.refresh()
    assert model.version is first  # until there is another one
    shutil.copytree(exported / "served/regression/1", tmp_path / "1")
    model.refresh()
    assert model.version is not first and "second_text" in model.version.specs("")
    capsys.readouterr()
    model.refresh()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("api", ["grpc", "rest"])
def test_our_client_retries_until_the_server_is_back(exported, api):
    models = Models({"a": str(exported / "served/classification")})
    with Server(models, port=0, rest_api_port=0) as server:
        ports = {"port": server.port, "rest_api_port": server.rest_api_port}
        address = f"localhost:{server.port if api == 'grpc' else server.rest_api_port}"
        client = Client(address, "a", api=api, retries=4)
        assert client.classify(["a"])  # over a connection that then breaks
    with client:
        with Client(address, "a", api=api, retries=0) as impatient, pytest.raises(ServingError, match="UNAVAILABLE"):
            impatient.classify(["a"])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.classify, ["a"])
            time.sleep(0.5)
            assert not answer.done()
            with Server(models, **ports):
                assert answer.result(timeout=60)[0].label
    with pytest.raises(ValueError, match="retries must be 0 to 4. Received: 5."):
        Client(address, "a", api=api, retries=5)


def test_requests_in_flight_are_answered_when_the_server_stops(exported):
    arguments = ["--model_name", "a", "--model_base_path", exported / "served/question_answering"]
    with running(*arguments) as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for count in (50, 200, 800):  # until one takes long enough on this machine
            inputs = {"question": ["why?"] * count, "context": ["a word and another one. " * 400] * count}
            rest = pool.submit(server.post, "/v1/models/a:predict", {"inputs": inputs})
            client = Client(server.grpc, "a", timeout=60, retries=0)
            grpc_answer = pool.submit(client.predict, inputs)
            time.sleep(0.5)
            if not rest.done() and not grpc_answer.done():
                break
        assert not rest.done() and not grpc_answer.done()  # or this would show nothing
        host, port = server.rest.split(":")
        with socket.create_connection((host, int(port))):  # as browsers leave one open
            server.stop()
        assert len(rest.result(timeout=60)["outputs"]["answer"]) == count
        assert len(grpc_answer.result(timeout=60)["answer"]) == count


def test_the_model_config_of_the_repository_is_read():
    text = (ROOT / "serving/models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert [model.name for model in config.model_config_list.config] == ["labels"]
