"""Walks the whole way with the real commands, from text to answers, and shows what wrong use looks like."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from quickstart import run as quickstart

ROOT = pathlib.Path(__file__).parents[2]
_TINY = (
    *("--set", "model.hidden_size=32", "--set", "model.intermediate_size=64"),
    *("--set", "train.steps=30", "--set", "train.log_every=10", "--set", "train.checkpoint_every=10"),
    *("--set", "train.steps_per_loop=5", "--set", "train.evaluate_every=30", "--set", "train.global_batch_size=16"),
    *("--set", "optimizer.warmup_steps=5", "--set", "optimizer.learning_rate=1e-3"),
)


def succeed(process: subprocess.CompletedProcess) -> str:
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


@pytest.fixture(scope="module")
def made(command, corpus, tmp_path_factory) -> pathlib.Path:
    """Everything from vocabulary to SavedModel, each made by the command that a user types."""
    path = tmp_path_factory.mktemp("made")
    texts = ["--input", corpus / "[0-9].txt"]
    succeed(command("pipelines.build_vocab", *texts, "--output", path / "vocab.txt", "--vocab_size", 1000))
    arguments = ["--max_seq_length", 64, "--num_shards", 2, "--validation_fraction", 0.1]
    arguments += ["--nostrip_accents", "--max_word_length", 90]
    out = succeed(
        command(
            "pipelines.create_pretraining_data",
            *texts,
            *("--vocab", path / "vocab.txt", "--output_dir", path / "shards", *arguments),
            *("--direct_num_workers=2", "--direct_running_mode=multi_processing"),
        )
    )
    assert "random next sentence" in out
    pretrain = ["--config", "configs/pretrain_tiny.py", "--workdir", path / "pretrain"]
    out = succeed(command("bert_tf.pretrain", *pretrain, "--set", f"data.train={path / 'shards'}", *_TINY))
    assert "step 30/30" in out
    write_labels(path)
    out = succeed(command("bert_tf.finetune", *finetune_arguments(path)))
    assert "majority_baseline" in out
    out = succeed(command("bert_tf.export", "--model", path / "finetune/model", "--output", path / "models/kinds"))
    assert out.strip().endswith("models/kinds/1")
    return path


def finetune_arguments(path: pathlib.Path) -> list:
    return [
        *("--config", "configs/finetune_classification.py", "--workdir", path / "finetune"),
        *("--set", f"init_from={path / 'pretrain/model'}", "--set", f"data.train={path / 'train.tsv'}"),
        *("--set", f"data.validation={path / 'validation.jsonl'}", "--set", "data.max_seq_length=16"),
        *("--set", "train.steps=120", "--set", "optimizer.learning_rate=1e-3"),
    ]


def write_labels(path: pathlib.Path) -> None:
    """Sentences about imports and classes, which even a tiny model tells apart."""
    rows = [
        (f"the {animal} {verb} in the {place}", animal)
        for animal in ("import", "class")
        for verb in ("is", "was", "can", "may", "will")
        for place in ("list", "module", "string", "object", "value", "name")
    ]
    (path / "train.tsv").write_text("text\tlabel\n" + "".join(f"{t}\t{label}\n" for t, label in rows[::2]))
    (path / "validation.jsonl").write_text(
        "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in rows[1::2])
    )


def test_pretraining_lowers_the_held_out_loss(made):
    lines = [json.loads(line) for line in (made / "pretrain/metrics.jsonl").read_text().splitlines()]
    held_out = [line["masked_lm_loss"] for line in lines if line["split"] == "validation"]
    assert held_out[0] == pytest.approx(6.9, abs=0.1)  # ln 1000
    assert held_out[-1] < held_out[0] - 0.8
    assert json.loads((made / "pretrain/config.json").read_text())["train"]["steps"] == 30


def test_normalization_travels_from_the_shards_to_every_model(made):
    for run in ("pretrain", "finetune"):
        settings = json.loads((made / run / "model/tokenizer_config.json").read_text())
        assert (settings["strip_accents"], settings["max_input_chars_per_word"]) == (False, 90)


def test_finetuning_beats_the_majority(made):
    scores = json.loads((made / "finetune/evaluation.json").read_text())
    assert scores["majority_baseline"] == 0.5
    assert scores["accuracy"] >= 0.9


def test_evaluate_repeats_the_last_line_of_the_run(command, made):
    lines = [json.loads(line) for line in (made / "pretrain/metrics.jsonl").read_text().splitlines()]
    out = succeed(command("bert_tf.evaluate", "--workdir", made / "pretrain"))
    scores = {name: float(value) for name, value in (line.split() for line in out.splitlines())}
    assert scores["masked_lm_loss"] == pytest.approx(lines[-1]["masked_lm_loss"], rel=1e-4)


def test_quickstart_sums_up_what_such_commands_made(made, tmp_path):
    for name in ("shards", "pretrain", "finetune"):
        (tmp_path / name).symlink_to(made / name)
    answers = str(tmp_path / "answers.json")
    arguments = ["quickstart/ask.py", str(made / "models/kinds/1"), answers]
    assert subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode == 0
    table = quickstart.closing_table(str(tmp_path), {"gather": 1.4, "ask": 2.0})
    manifest = json.loads((made / "shards/dataset.json").read_text())
    scores = json.loads((made / "finetune/evaluation.json").read_text())
    for row in (
        rf"documents +{manifest['counts']['passes_over_documents']:,}",
        r"held-out loss +\d\.\d{3} -> \d\.\d{3} in 30 steps",
        rf"classifier accuracy +{scores['accuracy']:.1%} on {scores['examples']} held-out docstrings",
        r"seconds, all +3",
        r"  (class|import) +\d+\.\d%  Fit the estimator",
    ):
        assert re.search(row, table), f"{row}\n{table}"


def test_saved_model_answers_in_a_process_without_this_project(made, tmp_path):
    script = ROOT / "quickstart" / "ask.py"
    subprocess.run(
        [sys.executable, script, made / "models/kinds/1", tmp_path / "answers.json"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers["project_modules_imported"] == []
    assert len(answers["answers"]) == 3
    assert all(a["label"] in ("import", "class") and 0.5 <= a["probability"] <= 1 for a in answers["answers"])


def test_predict_and_saved_model_and_both_servers_agree(command, made):
    texts = ["the import was in the list", "the class may be", ""]
    out = succeed(
        command("bert_tf.predict", "--model", made / "finetune/model", "--input", "-", stdin="\n".join(texts) + "\n")
    )
    predictions = [json.loads(line) for line in out.splitlines()]
    assert [p["text"] for p in predictions] == texts
    assert [p["label"] for p in predictions[:2]] == ["import", "class"]

    server = subprocess.Popen(
        [sys.executable, "-m", "bert_tf.serve", "--model_name", "kinds", "--model_base_path", made / "models/kinds"]
        + ["--port", "0", "--rest_api_port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = next(line for line in iter(server.stdout.readline, "") if "REST on" in line)
        rest = line.split("REST on ")[1].strip()
        rows = post(rest, {"instances": texts})["predictions"]
        columns = post(rest, {"inputs": {"text": texts}})["outputs"]
        assert columns["label"] == [row["label"] for row in rows]
        for prediction, row in zip(predictions, rows, strict=True):
            assert row["label"] == prediction["label"]
            assert row["probabilities"] == pytest.approx(list(prediction["probabilities"].values()), abs=1e-5)
        status = json.loads(urllib.request.urlopen(rest.removesuffix(":predict"), timeout=30).read())
        assert status["model_version_status"][0]["state"] == "AVAILABLE"
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0


def post(url: str, body) -> dict:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.loads(urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=30).read())


def test_convert_keeps_the_weights(command, made, tmp_path):
    out = succeed(command("bert_tf.convert", "--input", made / "pretrain/model", "--output", tmp_path / "copy"))
    assert "46 weights loaded\n" in out
    same = "model.safetensors"
    assert (tmp_path / "copy" / same).read_bytes() == (made / "pretrain/model" / same).read_bytes()


def test_killed_pretraining_resumes_to_the_same_model(made, tmp_path):
    arguments = ["--config", "configs/pretrain_tiny.py", "--workdir", tmp_path / "run"]
    arguments += ["--set", f"data.train={made / 'shards'}", *_TINY]
    start = [sys.executable, "-m", "bert_tf.pretrain", *map(str, arguments)]
    process = subprocess.Popen(start, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run/checkpoints").glob("step-*.safetensors")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (tmp_path / "run/model").exists()
    out = subprocess.run(start, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "resuming at step" in out
    weights = "model/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (made / "pretrain" / weights).read_bytes()

    def losses(path):
        lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
        return [(line["step"], line["split"], line["loss"]) for line in lines]

    assert losses(tmp_path / "run") == losses(made / "pretrain")


def without_mask(path: pathlib.Path) -> pathlib.Path:
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
    return path


# One or two for each command: the command, and the sentence that it must end in. Other sentences have their tests where
# they are made.
def wrong_uses(made: pathlib.Path, corpus: pathlib.Path, tmp: pathlib.Path) -> dict:
    other = (made / "vocab.txt").read_text().replace("\nthe\n", "\n[other]\n")
    (tmp / "other.txt").write_text(other)
    (tmp / "labels.tsv").write_text("text\tkind\nx\ta\n")
    data = ["pipelines.create_pretraining_data", "--output_dir", tmp / "out"]
    text, vocab = ["--input", corpus / "0.txt"], ["--vocab", made / "vocab.txt"]
    pretrain = ["bert_tf.pretrain", "--config", "configs/pretrain_tiny.py", "--workdir", tmp / "run"]
    on_shards = [*pretrain, "--set", f"data.train={made / 'shards'}", *_TINY]
    return {
        "vocabulary without [MASK]": (
            [*data, *text, "--vocab", without_mask(tmp / "v.txt")],
            f"error: --vocab {tmp}/v.txt: expected the special tokens [PAD], [UNK], [CLS], [SEP], [MASK]. "
            "Received a vocabulary of 5 tokens without [MASK].",
        ),
        "bad record in a worker process": (
            [*data, "--input", binary(tmp / "binary.txt"), *vocab]
            + ["--direct_num_workers=2", "--direct_running_mode=multi_processing"],
            f"error: --input: expected complete files. Received {tmp}/binary.txt, of which 0 documents were read and",
        ),
        "shards made with another vocabulary": (
            [*on_shards, "--set", f"data.vocab={tmp / 'other.txt'}"],
            f"error: data.train={made}/shards: expected shards made with the vocabulary of data.vocab={tmp}/other.txt",
        ),
        "label file with a missing column": (
            ["bert_tf.finetune", *finetune_arguments(made)[:2], "--workdir", tmp / "run"]
            + ["--set", f"init_from={made / 'pretrain/model'}", "--set", f"data.train={tmp / 'labels.tsv'}"],
            f"error: {tmp}/labels.tsv:2: expected a column 'label'. Received: text, kind.",
        ),
        "run that is not finished": (
            ["bert_tf.evaluate", "--workdir", tmp],
            f"error: --workdir {tmp}: expected a finished run. Received one without config.json.",
        ),
        "served folder without versions": (
            ["bert_tf.serve", "--model_name", "x", "--model_base_path", tmp],
            f"error: --model_base_path {tmp}: expected numbered versions",
        ),
        "preflight without a config": (
            ["bert_tf.preflight", "--config", "configs/nothing.py"],
            "error: --config configs/nothing.py: expected a Python file with get_config(). Received: no such file.",
        ),
        "folder of versions that cannot be written": (
            ["bert_tf.export", "--model", made / "finetune/model", "--output", "/proc"],
            "error: /proc: expected a folder that can be written. Received: ",
        ),
    }


def binary(path: pathlib.Path) -> pathlib.Path:
    path.write_bytes(b"\xff\xfe\x00")
    return path


def test_wrong_use_is_one_sentence_and_exit_code_1(command, made, corpus, tmp_path):
    for name, (arguments, sentence) in wrong_uses(made, corpus, tmp_path).items():
        process = command(*arguments)
        lines = process.stderr.rstrip().splitlines()
        assert process.returncode == 1, name
        assert "Traceback" not in process.stderr, name
        assert lines[-1].startswith(sentence), name
        assert all(line.startswith("  ") for line in lines[:-1]), f"{name}: {process.stderr}"  # of progress
    assert not list((tmp_path / "out").glob("pretrain-*")) if (tmp_path / "out").exists() else True
    assert not (tmp_path / "out" / "1").exists()
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_labels_is_refused(command, made, tmp_path):
    shutil.copytree(made / "finetune", tmp_path / "finetune")
    shutil.copytree(made / "pretrain/model", tmp_path / "pretrain/model")
    write_labels(tmp_path)
    config = (made / "finetune/config.json").read_text().replace(str(made), str(tmp_path))
    (tmp_path / "finetune/config.json").write_text(config)
    for name in ("train.tsv", "validation.jsonl"):
        (tmp_path / name).write_text((tmp_path / name).read_text().replace("class", "klass"))
    process = command("bert_tf.finetune", *finetune_arguments(tmp_path))
    assert process.returncode == 1
    assert "expected the labels that its run began with, ['class', 'import']. Received: ['import'" in process.stderr


def test_resuming_with_another_config_is_refused(command, made):
    process = command("bert_tf.finetune", *finetune_arguments(made), "--set", "train.seed=1")
    assert process.returncode == 1
    assert "differing in train.seed (there 12345, now 1)" in process.stderr
