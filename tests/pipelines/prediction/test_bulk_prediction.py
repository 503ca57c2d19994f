"""Bulk prediction as a command: resume, workers, dead letters, errors. Its model counts bytes; see bulk_examples."""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from bert_tf.core.errors import InputError
from pipelines.jobs.bulk_prediction import predict
from pipelines.prediction.steps import AnswerConfig
from tests.support.serving import bulk_examples

ROOT = pathlib.Path(__file__).parents[3]
TEXTS = [f"{'x' * (n * 7919 % 97)} {n}" for n in range(5_000)]
SHARDS = 25


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("model") / "1")
    bulk_examples.write_failing_model(path)
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> pathlib.Path:
    """The same texts in a plain file, then in a file of JSON lines."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "a.txt").write_text("".join(f"{text}\n" for text in TEXTS[:3_000]))
    bulk_examples.write_lines(folder / "b.jsonl", [{"text": text} for text in TEXTS[3_000:]])
    return folder


@contextlib.contextmanager
def running(model: str, texts: pathlib.Path, output: pathlib.Path, *arguments: str):
    command = [sys.executable, "-m", "pipelines.predict", "--model", model, "--input", f"{texts}/*"]
    command += ["--output", str(output), f"--examples_per_shard={len(TEXTS) // SHARDS}", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def finished(*arguments) -> str:
    with running(*arguments) as process:
        output, _ = process.communicate(timeout=540)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def answered(model, texts, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("answered") / "out"
    assert "answers   5,000" in finished(model, texts, output)
    return output


def files_of(folder: pathlib.Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("predictions-*")}


def test_answers_stand_in_the_order_of_the_input(answered):
    paths = sorted(answered.glob("predictions-*.jsonl"))
    assert [path.name for path in paths] == [f"predictions-{n:05d}-of-{SHARDS:05d}.jsonl" for n in range(SHARDS)]
    found = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    assert found == [{"text": text, "value": float(len(text))} for text in TEXTS]
    assert {path.name for path in answered.iterdir()} == {*files_of(answered), "dataset.json", "COMPLETED"}


def test_a_killed_job_resumes_with_the_same_bytes(answered, model, texts, tmp_path):
    output = tmp_path / "killed"
    with running(model, texts, output) as process:
        progress = output / "progress"
        while len(list(progress.glob("*.json")) if progress.exists() else []) < 3:
            assert process.poll() is None
            time.sleep(0.001)
    names = {path.name.removesuffix(".json") for path in progress.glob("*.json")}
    assert 3 <= len(names) < SHARDS and not (output / "COMPLETED").exists()
    reference = files_of(answered)
    assert all(reference[name] == digest for name, digest in files_of(output).items())  # whole, or not there
    times = {name: (output / name).stat().st_mtime_ns for name in names}
    broken = random.Random(1).choice(sorted(names))
    (output / broken).write_bytes((output / broken).read_bytes()[:-1])
    with pytest.raises(InputError, match=r"--output .*killed: expected .* examples_per_shard = 200 instead of 100"):
        predict(
            model=model,
            input_patterns=[f"{texts}/*"],
            output=str(output),
            config=AnswerConfig(examples_per_shard=100),
        )
    assert f"Resuming: {len(names) - 1} shards are finished and intact." in finished(model, texts, output)
    assert files_of(output) == reference
    assert all((output / name).stat().st_mtime_ns == times[name] for name in names - {broken})
    assert "nothing to do" in finished(model, texts, output)


def test_two_worker_processes_write_the_same_bytes(answered, model, texts, tmp_path):
    finished(model, texts, tmp_path / "two", "--direct_num_workers=2")
    assert files_of(tmp_path / "two") == files_of(answered)


def test_what_cannot_be_answered_is_listed_counted_and_limited(model, tmp_path):
    values = [{"text": str(n)} for n in range(100)]
    values[3], values[5], values[7] = {"text": "fail"}, {"text": "nan"}, {"a": 1}
    data = bulk_examples.write_lines(tmp_path / "asked.jsonl", values)
    arguments = {"model": model, "input_patterns": [data], "output": str(tmp_path / "out")}
    sentence = (
        r"at most 1.00% of examples that the model fails on \(--max_bad_fraction\). Received 2 of 99, the first at "
        r".*asked.jsonl, document 4: the model fails: .*a text that fails.*--max_bad_fraction=0.021 finishes the job"
    )
    with pytest.raises(InputError, match=sentence):
        predict(**arguments)
    manifest = predict(**arguments, max_bad_fraction=0.021)
    assert manifest["counts"] == {"examples": 99, "bad_records": 1, "answers": 97, "failures": 2, "bytes": 3019} | {
        "bytes": manifest["shards"][0]["bytes"]
    }
    found = [
        json.loads(line)["text"] for line in next((tmp_path / "out").glob("predictions-*")).read_text().split("\n")[:-1]
    ]
    assert found == [str(n) for n in range(100) if n not in (3, 5, 7)]
    letters = [json.loads(line) for line in (tmp_path / "out/dead_letter.jsonl").read_text().splitlines()]
    assert [(letter["unit"], letter["position"]) for letter in letters] == [
        ("line", 8),
        ("document", 4),
        ("document", 6),
    ]
    assert letters[0]["reason"] == "expected a column 'text', received a"
    assert letters[2]["reason"] == "the model gives a NaN or infinite number in value"


def test_wrong_use_ends_in_one_sentence(model, texts, tmp_path, exported_question_answering):
    def fails(sentence: str, **changes):
        arguments = {"model": model, "input_patterns": [f"{texts}/*"], "output": str(tmp_path / "out")} | changes
        with pytest.raises(InputError, match=sentence):
            predict(**arguments)
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("predictions-*"))

    versions = str(pathlib.Path(model).parent)
    fails(
        rf"--model {versions}: expected a version .* Received: a folder of versions; the newest is {model}.",
        model=versions,
    )
    fails("--model /nowhere: expected a version that bert_tf.export wrote", model="/nowhere")
    fails("--keep_fields value: expected columns that the answers do not have", config=AnswerConfig(keep=("value",)))
    fails("--examples_per_shard must be at least 1. Received: 0.", config=AnswerConfig(examples_per_shard=0))
    fails(
        r"a.txt, of which 0 documents were read .* a plain text; expected JSON or Parquet with the columns "
        "question, context",
        model=exported_question_answering,
    )


@pytest.fixture(scope="module")
def exported_question_answering(model, tmp_path_factory) -> str:
    """The description of a model that takes two columns; nothing is loaded before the input is refused."""
    folder = tmp_path_factory.mktemp("questions")
    path = pathlib.Path(model)
    told = json.loads((path / "assets.extra/bert_tf.json").read_text())
    signature = told["signatures"]["serving_default"]
    signature["inputs"] = {name: {"dtype": "string", "shape": [None]} for name in ("question", "context")}
    signature["fields"] = {name: name for name in signature["inputs"]}
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra/bert_tf.json").write_text(json.dumps(told))
    (folder / "saved_model.pb").write_bytes((path / "saved_model.pb").read_bytes())
    return str(folder)
