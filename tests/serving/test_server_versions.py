"""A server under load while versions come, go and break, and while it stops itself."""

import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
)

from bert_tf.core.errors import InputError
from bert_tf.serving.client.client import Client, ServingError
from bert_tf.serving.export import saved_model
from bert_tf.serving.server import models
from bert_tf.serving.server.request_error import RequestError
from tests.support import served_models
from tests.support.serving_process import ROOT, expected_probabilities, running


def test_no_request_fails_while_a_new_version_comes(exported, tmp_path):
    """Eight clients, four a protocol: five hundred requests at least, until version 2 has taken over and answered some.
    None of them fails or waits for ever."""
    shutil.copytree(exported / "served/classification/1", tmp_path / "model/1")
    arguments = ["--model_name", "labels", "--model_base_path", tmp_path / "model", "--enable_batching"]
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
    (tmp_path / "model/2").mkdir()
    (tmp_path / "models.config").write_text(
        f'model_config_list {{ config {{ name: "labels" base_path: "{tmp_path / "model"}" '
        "model_version_policy { all {} } } }"
    )
    with running("--model_config_file", tmp_path / "models.config") as server:
        broken, good = server.get("/v1/models/labels")["model_version_status"]
        assert (broken["version"], broken["state"]) == ("2", "END") and broken["status"]["error_message"]
        assert broken["status"]["error_code"] == "UNKNOWN"
        assert (good["version"], good["state"], good["status"]["error_code"]) == ("1", "AVAILABLE", "OK")
        assert server.get("/v1/models/labels/versions/2")["model_version_status"] == [broken]
        with grpc.insecure_channel(server.grpc) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            request = get_model_status_pb2.GetModelStatusRequest()
            request.model_spec.name = "labels"
            states = stub.GetModelStatus(request, timeout=30).model_version_status
            assert [(s.version, s.state) for s in states] == [(2, 50), (1, 30)]
            assert states[0].status.error_code == 2
            assert states[0].status.error_message == broken["status"]["error_message"]


def test_a_model_without_a_version_is_told(command, tmp_path):
    (tmp_path / "model/1").mkdir(parents=True)
    told = command("bert_tf.serve", "--model_name", "labels", "--model_base_path", str(tmp_path / "model"))
    assert told.returncode == 1
    assert "expected numbered versions as bert_tf.export writes them. Received one that fails: " in told.stderr
    told = command("bert_tf.serve", "--model_name", "labels", "--model_base_path", str(tmp_path))
    assert told.returncode == 1 and told.stderr.strip().endswith("Received none.")


def test_the_limits_of_a_request_are_flags(exported):
    """A body that is too large and a time that is too short are refused as TF Serving refuses them."""
    arguments = ["--model_name", "words", "--model_base_path", exported / "served/fill_mask"]
    with running(*arguments, "--max_request_bytes", 10_000, "--rest_api_timeout_in_ms", 1) as server:
        code, error = server.refused("/v1/models/words:predict", {"instances": ["a" * 20_000]})
        assert code == 413 and "expected a body of at most 10000 bytes" in error
        # Some hundred words, each of thirty thousand.
        code, error = server.refused("/v1/models/words:predict", {"instances": ["[MASK] " * 20] * 20})
        assert code == 504 and "no answer within 0.001 s" in error


def test_batching_parameters_want_batching(command, tmp_path):
    (tmp_path / "batching").write_text("max_batch_size { value: 4 }")
    arguments = [
        "--model_name",
        "x",
        "--model_base_path",
        tmp_path,
        "--batching_parameters_file",
        tmp_path / "batching",
    ]
    told = command("bert_tf.serve", *arguments)
    assert told.returncode == 1 and "expected --enable_batching with it. Received it alone." in told.stderr


def test_ports_that_are_taken_are_told(command, exported):
    arguments = ["--model_name", "labels", "--model_base_path", exported / "served/classification"]
    with running(*arguments) as server:
        port = server.rest.rsplit(":", 1)[1]
        told = command("bert_tf.serve", *arguments, "--port", 0, "--rest_api_port", port)
    assert told.returncode == 1 and f"--rest_api_port {port}: expected free ports. Received: " in told.stderr


def test_a_broken_version_is_told_and_the_old_one_goes_on(exported, tmp_path, capsys):
    shutil.copytree(exported / "served/classification/1", tmp_path / "1")
    model = models.Model(models.ModelConfig("labels", str(tmp_path)))
    model.refresh()
    (tmp_path / "2").mkdir()
    (tmp_path / "2/saved_model.pb").write_bytes(b"broken")
    for _ in range(7):
        model.refresh()
        assert model.version().number == 1
    # While nothing changes it is tried five times and no more.
    assert capsys.readouterr().out.count("version 2 could not be loaded") == 5
    assert [(number, state) for number, state, _ in model.states()] == [(2, 50), (1, 30)]  # END, AVAILABLE
    ((number, state, reason),) = model.states(2)
    assert (number, state) == (2, 50) and reason
    with pytest.raises(RequestError, match="Specific\\(labels, 3\\)"):
        model.states(3)
    with pytest.raises(RequestError, match="Specific\\(labels, 2\\)"):
        model.version(2)
    # What changes is tried again, and takes over once it is whole.
    shutil.rmtree(tmp_path / "2")
    shutil.copytree(exported / "served/classification/1", tmp_path / "2")
    model.refresh()
    assert [(number, state) for number, state, _ in model.states()] == [(2, 30)]
    # Without the newest, the one before it comes back; of a broken one that is gone nothing is told.
    shutil.rmtree(tmp_path / "2")
    (tmp_path / "3").mkdir()
    model.refresh()
    (tmp_path / "3").rmdir()
    model.refresh()
    assert [(number, state) for number, state, _ in model.states()] == [(1, 30)]


def test_a_version_made_anew_under_its_number_is_taken_up(exported, tmp_path, capsys):
    shutil.copytree(exported / "served/classification/1", tmp_path / "1")
    model = models.Model(models.ModelConfig("labels", str(tmp_path)))
    model.refresh()
    first = model.version()
    shutil.rmtree(tmp_path / "1")
    model.refresh()
    assert model.version() is first  # until another one is there
    shutil.copytree(exported / "served/regression/1", tmp_path / "1")
    model.refresh()
    assert model.version() is not first and "second_text" in model.version().input_names("")
    capsys.readouterr()
    model.refresh()
    assert capsys.readouterr().out == ""


def test_a_name_stands_once(tmp_path):
    path = tmp_path / "models.config"
    for names in (("a", "b", "a"), ("",)):
        configs = "".join(f'config {{ name: "{name}" base_path: "/x" }}' for name in names)
        path.write_text(f"model_config_list {{ {configs} }}")
        with pytest.raises(InputError, match=f"expected a name of its own for each model. Received: {names[0]!r}"):
            models.read_config(str(path))


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
        with pytest.raises(grpc.RpcError, match="expected a model_config_list"):
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
    with running(*arguments) as server, concurrent.futures.ThreadPoolExecutor(1) as pool:
        for count in (50, 200, 800):  # until one takes long enough on this machine
            asked = {"inputs": {"question": ["why?"] * count, "context": ["a word and another one. " * 400] * count}}
            answer = pool.submit(server.post, "/v1/models/a:predict", asked)
            time.sleep(0.5)
            if not answer.done():
                break
        assert not answer.done()  # or this would show nothing
        server.stop()
        assert len(answer.result(timeout=60)["outputs"]["answer"]) == count
