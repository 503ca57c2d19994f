"""The README's commands, from its own text, in its order; each line is run or is named here with the reason why not."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_RUN = {
    "make quickstart": "minutes; a smaller folder takes its place; test_quickstart.py has its parts",
    "make test": "this is it",
    "tensorboard --logdir runs/tiny/events": "a server of others; tests/training/test_trainer.py reads the events",
    "python -m bert_tf.convert --input uncased_L-12_H-768_A-12": "wants a published checkpoint, hence a network",
    "python -m bert_tf.preflight": "wants the TPU compiler's environment; make tpu-test",
}


def commands() -> list[str]:
    """The lines of all bash blocks, without comments, continued lines as one."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(re.sub(r"\s+# .*| +#$", "", line).split()) for line in lines if line.strip()]


def is_run(line: str) -> bool:
    return not any(line.startswith(start) for start in NOT_RUN)


def environment(path: pathlib.Path) -> dict[str, str]:
    """The interpreter of the tests as `python`, and this checkout, from a folder of the test's own."""
    (path / "bin").mkdir(exist_ok=True)
    if not (path / "bin/python").exists():
        (path / "bin/python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (path / "bin/python").chmod(0o755)
    return {**os.environ, "PATH": f"{path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def run(path: pathlib.Path, line: str) -> str:
    done = subprocess.run(
        line, shell=True, cwd=path, env=environment(path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> tuple[pathlib.Path, dict[str, str]]:
    """The folder in which every line was run, and {module: what it printed last}."""
    path, told = tmp_path_factory.mktemp("readme"), {}
    (path / "configs").symlink_to(ROOT / "configs")
    # What make quickstart leaves, smaller; and in place of its pretrained model the one that the README's lines make.
    run(path, "python -m quickstart.corpus --output runs/quickstart/corpus --megabytes 1.5")
    lines = [line for line in commands() if is_run(line)]
    for number, line in enumerate(lines):
        if "bert_tf.serve " in line:
            told["curl"] = ask_served(path, line, lines.pop(number + 1))
            continue
        told[line.split(" -m ")[-1].split()[0]] = run(path, line)
        if "bert_tf.pretrain " in line:
            shutil.copytree(path / "runs/tiny/model", path / "runs/quickstart/pretrain/model")
    return path, told


def ask_served(path: pathlib.Path, serve: str, curl: str) -> str:
    """What curl prints while the server runs."""
    assert curl.startswith("curl ")
    # Its own process, not a shell's, so that it can be stopped.
    command = [sys.executable, *shlex.split(serve)[1:]]
    server = subprocess.Popen(command, cwd=path, env=environment(path), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not answers("http://localhost:8501/v1/models/labels"):
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.5)
        return run(path, curl)
    finally:
        server.terminate()
        server.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.mark.slow
def test_the_commands_run_as_written(walked):
    path, told = walked
    assert json.loads((path / "runs/shards/dataset.json").read_text())["layout"]["max_seq_length"] == 128
    assert (path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "accuracy" in told["bert_tf.evaluate"]
    label = json.loads(told["bert_tf.predict"])["label"]
    assert isinstance(label, str) and json.loads(told["curl"])["predictions"][0]["label"]
    assert (path / "models/labels/1/saved_model.pb").exists()


@pytest.mark.slow
def test_the_python_runs_as_written(walked):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        (walked[0] / f"block_{number}.py").write_text(block)
        run(walked[0], f"python block_{number}.py")


def test_every_line_that_is_not_run_is_in_the_readme():
    for start in NOT_RUN:
        assert any(line.startswith(start) for line in commands()), start


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
