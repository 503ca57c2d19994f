"""Which model a fine-tuning run keeps, and long texts from training to the served answer."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import test_finetuning
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from test_finetuning import WORDS, config_of, validation

from bert_tf.core.config import OptimizerConfig
from bert_tf.runs import evaluation, finetuning
from bert_tf.serving import loading
from bert_tf.serving.export import gate, saved_model

folder = test_finetuning.folder  # a fixture
SLEEPY = OptimizerConfig(learning_rate=1e-12, warmup_steps=0)  # a run that learns nothing


def best_step(workdir) -> int:
    with safe_open(workdir / "checkpoints/best.safetensors", framework="numpy") as file:
        return int(file.metadata()["step"])


def test_an_untrained_head_is_never_the_best_model(folder, tmp_path, capsys):
    config = config_of(folder, optimizer=SLEEPY, train={"steps": 20})
    finetuning.run(config, str(tmp_path / "run"))
    values = [line["accuracy"] for line in validation(tmp_path / "run")]
    assert len(set(values)) == 1  # no evaluation is better than the first
    out = capsys.readouterr().out
    assert f"saving the model of step 10, which had the best evaluation: accuracy {values[0]:.4g}" in out
    warning = f"warning: no evaluation was better than that of the untrained head, accuracy {values[0]:.4g} at step 0."
    assert warning in out
    assert best_step(tmp_path / "run") == 10
    # An untrained head that has a perfect score leaves nothing to learn.
    path = tmp_path / "run/metrics.jsonl"
    path.write_text(re.sub(r'"accuracy": [0-9.]+', '"accuracy": 1.0', path.read_text()))
    finetuning.run(config, str(tmp_path / "run"))
    out = capsys.readouterr().out
    assert "the best evaluation: accuracy 1" in out and "warning: no evaluation was better" not in out
    # A workdir of an older version, which kept the untrained head.
    path = tmp_path / "run/checkpoints/best.safetensors"
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, {**metadata, "step": "0"})
    finetuning.run(config, str(tmp_path / "run"))
    assert "warning: there is no best checkpoint" in capsys.readouterr().out


def test_a_run_that_learns_warns_of_nothing(folder, tmp_path, capsys):
    finetuning.run(config_of(folder, epochs=3.0), str(tmp_path / "run"))
    out = capsys.readouterr().out
    assert "warning" not in out
    assert "data.train: 0 of 256 examples truncated (0.00%), 0 of 1,280 tokens not read (0.00%)" in out
    assert "data.validation: 0 of 64 examples truncated (0.00%), 0 of 320 tokens not read (0.00%)" in out


def test_a_trained_model_that_gets_worse_is_kept_as_it_was(folder, tmp_path, capsys):
    finetuning.run(config_of(folder), str(tmp_path / "first"))
    swapped = (folder / "train.tsv").read_text().replace("\tyes", "\t-").replace("\tno", "\tyes").replace("\t-", "\tno")
    (tmp_path / "train.tsv").write_text(swapped)
    config = config_of(folder, init_from=str(tmp_path / "first"))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, train=str(tmp_path / "train.tsv")))
    capsys.readouterr()
    finetuning.run(config, str(tmp_path / "second"))
    assert "warning: no evaluation was better than that of the model before training" in capsys.readouterr().out
    before, after = (load_file(tmp_path / name / "model/model.safetensors") for name in ("first", "second"))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_what_stands_behind_a_row_is_learned_and_served_in_windows(folder, tmp_path, command, capsys):
    """Texts of 18 words in rows of 6; "cat" stands among the last 6 only."""
    rng, others = np.random.default_rng(0), [word for word in WORDS if word != "cat"]
    for split, count in (("train", 256), ("validation", 64)):
        lines = []
        for number in range(count):
            words = list(rng.choice(others, 18))
            if number % 2:
                words[rng.integers(12, 18)] = "cat"
            lines.append(f"{' '.join(words)}\t{'yes' if number % 2 else 'no'}\n")
        (tmp_path / f"{split}.tsv").write_text("text\tlabel\n" + "".join(lines))
    shutil.copytree(folder / "start", tmp_path / "start")
    config = config_of(tmp_path, train={"steps": 60, "evaluate_every": 20})
    windows = dataclasses.replace(config.data, long_texts="windows", window_pooling="max")
    scores = finetuning.run(dataclasses.replace(config, data=windows), str(tmp_path / "run"))
    assert scores["accuracy"] > 0.9
    assert scores["accuracy"] == pytest.approx(max(line["accuracy"] for line in validation(tmp_path / "run")))
    out = capsys.readouterr().out
    assert "256 in several windows of 8 tokens; 0 of 256 examples truncated" in out
    assert evaluation.run(str(tmp_path / "run")) == scores
    # It travels: the model directory, the SavedModel and their descriptions.
    version = saved_model.export(str(tmp_path / "run/model"), str(tmp_path / "served"))
    told = json.loads((tmp_path / "served/1/assets.extra/bert_tf.json").read_text())
    assert told["settings"]["data"]["window_pooling"] == "max"
    assert told["too_long"].startswith("continues in windows of max_seq_length tokens, 8 at most")
    texts = [line.split("\t")[0] for line in (tmp_path / "validation.tsv").read_text().splitlines()[1:]]
    texts += ["", "sun " * 100 + "cat"]
    answers = loading.load(str(tmp_path / "run/model")).answers([{"place": "x", "text": text} for text in texts])
    (served,) = gate.run_clean(version, [("serving_default", {"text": np.array(texts, object)})])
    expected = [list(answer["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)
    # Of 101 tokens eight windows of six hold 48.
    assert [answer.get("truncated_tokens") for answer in answers[-2:]] == [None, 53]


def test_predict_reports_what_it_does_not_read(folder, tmp_path, command):
    finetuning.run(config_of(folder, train={"steps": 5}), str(tmp_path / "run"))
    (tmp_path / "texts.txt").write_text("cat dog\n" + "sun " * 20 + "\n")
    told = command("bert_tf.predict", "--model", tmp_path / "run/model", "--input", tmp_path / "texts.txt")
    assert told.returncode == 0
    report = "rows of 8 tokens: 1 of 2 examples truncated (50.00%), 14 of 22 tokens not read (63.64%)"
    assert report in told.stderr
    assert [json.loads(line).get("truncated_tokens") for line in told.stdout.splitlines()] == [None, 14]
    told = command("bert_tf.evaluate", "--workdir", tmp_path / "run")
    assert "data.validation: 0 of 64 examples truncated" in told.stdout
    output = tmp_path / "features.parquet"
    told = command(
        "bert_tf.extract", "--model", folder / "start", "--input", tmp_path / "texts.txt", "--output", output
    )
    # The pretrained model's own rows have 16 tokens.
    assert "rows of 16 tokens: 1 of 2 examples truncated (50.00%), 6 of 22 tokens not read (27.27%)" in told.stdout
