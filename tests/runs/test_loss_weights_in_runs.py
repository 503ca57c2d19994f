"""Losses that the config's section `tuning` changes, in whole runs."""

import json
import shutil

import pytest
import test_finetuning
from test_finetuning import config_of, validation

from bert_tf.core.config import TuningConfig
from bert_tf.core.metrics_file import read_metrics
from bert_tf.runs import finetuning
from bert_tf.tasks.classification import ClassificationConfig
from bert_tf.tasks.multi_label import MultiLabelConfig

folder = test_finetuning.folder  # a fixture


@pytest.fixture(scope="module")
def start(folder, tmp_path_factory):
    """The same model without dropout, which replicas draw differently."""
    path = shutil.copytree(folder / "start", tmp_path_factory.mktemp("start") / "start")
    settings = json.loads((path / "config.json").read_text())
    settings |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (path / "config.json").write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def focal(folder, start, tmp_path_factory):
    return run(folder, start, tmp_path_factory.mktemp("focal") / "one", focal_gamma=2.0)


def run(folder, start, workdir, kind=ClassificationConfig, *, strategy="single", **tuning):
    """The losses of the training steps, and the validation loss of the untrained head."""
    train = {"steps": 4, "log_every": 1, "evaluate_every": 4, "checkpoint_every": 4, "strategy": strategy}
    changes = {"init_from": str(start), "classifier_dropout": 0.0, "tuning": TuningConfig(**tuning)}
    finetuning.run(config_of(folder, kind, train=train, **changes), str(workdir))
    losses = [line["loss"] for line in read_metrics(str(workdir)) if line["split"] == "train"]
    return losses, validation(workdir)[0]["loss"]


def test_a_focal_loss_on_two_replicas_is_that_of_one(folder, start, focal, tmp_path):
    losses, at_start = focal
    on_two, _ = run(folder, start, tmp_path / "two", focal_gamma=2.0, strategy="mirrored")
    assert on_two == pytest.approx(losses, rel=1e-6)
    # An untrained head has p of about 1/2: the focal loss is about a quarter of the plain one.
    assert losses[0] == pytest.approx(at_start / 4, rel=0.4)


def test_the_validation_loss_has_no_weights(folder, start, focal, tmp_path):
    """It had those of positive examples and the focal loss, and not those of classes."""
    losses, at_start = run(folder, start, tmp_path / "labels", label_weights=("yes=9",))
    assert at_start == pytest.approx(focal[1], rel=1e-6) and losses[0] != pytest.approx(at_start, rel=1e-3)
    # Untrained, one decision costs about log 2. About half of them are positive and count 9 times.
    weights = ("yes=9", "no=9")
    losses, at_start = run(folder, start, tmp_path / "several", MultiLabelConfig, positive_weights=weights)
    assert losses[0] > 2.5 and at_start < 1.2
