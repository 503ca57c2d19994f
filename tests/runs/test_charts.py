import json

import numpy as np
import pytest
from matplotlib import image

from bert_tf.core.errors import InputError
from bert_tf.runs import charts


def write(workdir, lines):
    workdir.mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    # A run that is still going may be in the middle of a line.
    (workdir / "metrics.jsonl").write_text(text + '{"step": 9, "spl')


def test_curves_of_two_runs_become_a_picture(tmp_path):
    train = [{"step": s, "split": "train", "loss": 5.0 - s, "learning_rate": 0.1 * s} for s in range(1, 5)]
    write(tmp_path / "a", [*train, {"step": 4, "split": "validation", "loss": 2.0, "accuracy": 0.5}])
    write(tmp_path / "b", train[:2])
    charts.draw([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "curves.png"))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    charts.draw([str(tmp_path / "a")], str(tmp_path / "curves.svg"))
    assert "held out" in (tmp_path / "curves.svg").read_text()


def test_smoothing_is_a_mean_of_what_came_before():
    assert charts._smooth([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert charts._smooth([float(i) for i in range(20)])[:4] == [0.0, 0.5, 1.5, 2.5]


def test_folders_without_a_run_are_named(tmp_path):
    with pytest.raises(InputError, match="expected a run. Received a folder without metrics.jsonl"):
        charts.draw([str(tmp_path)], "x.png")
    write(tmp_path / "a", [])
    with pytest.raises(InputError, match="Received a run that has not logged any metrics yet"):
        charts.draw([str(tmp_path / "a")], "x.png")
    write(tmp_path / "b", [{"step": 1, "split": "train", "loss": 1.0}])
    with pytest.raises(InputError, match="expected a name that ends in .png, .svg or .pdf"):
        charts.draw([str(tmp_path / "b")], str(tmp_path / "x.jpg"))
    with pytest.raises(InputError, match="expected a file in a folder that exists"):
        charts.draw([str(tmp_path / "b")], str(tmp_path / "nowhere" / "x.png"))


def test_steps_and_evaluations_show_what_each_of_them_has(tmp_path):
    """Of two classes evaluations have F1, and steps accuracy alone."""
    train = [{"step": s, "split": "train", "loss": 1.0, "accuracy": 0.1 * s} for s in range(1, 5)]
    write(tmp_path / "a", [*train, {"step": 4, "split": "validation", "loss": 2.0, "accuracy": 0.5, "f1": 0.4}])
    charts.draw([str(tmp_path / "a")], str(tmp_path / "curves.svg"))
    told = (tmp_path / "curves.svg").read_text()
    assert f"{tmp_path}/a accuracy" in told and f"{tmp_path}/a f1, held out" in told


def test_the_confusion_of_a_thousand_classes_is_a_picture_still(tmp_path):
    counts = np.eye(1000, dtype=int)
    charts.draw_confusion(counts, [str(i) for i in range(1000)], str(tmp_path / "confusion.png"))
    assert image.imread(tmp_path / "confusion.png").shape[0] <= 3600
