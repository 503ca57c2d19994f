"""Several fine-tuning runs: a search, several seeds, folds."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import test_finetuning
from test_finetuning import config_of

from bert_tf.core.config import TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.runs import evaluation, trials
from bert_tf.tasks.multi_label import MultiLabelConfig

folder = test_finetuning.folder  # a fixture


def test_a_search_tells_the_best_and_reuses_what_is_finished(folder, tmp_path, capsys):
    config = config_of(folder, train={"steps": 10})
    search = ["learning_rate=1e-9,3e-3", "epochs=1"]
    table = trials.run(config, str(tmp_path), search)
    assert "finished before" not in capsys.readouterr().out
    told = json.loads((tmp_path / "trials.json").read_text())
    assert told["metric"] == "accuracy"
    assert [trial["values"]["optimizer.learning_rate"] for trial in told["trials"]] == ["1e-9", "3e-3"]
    scores = [trial["scores"]["accuracy"]["mean"] for trial in told["trials"]]
    assert told["best"]["optimizer.learning_rate"] == ("3e-3" if scores[1] > scores[0] else "1e-9")
    assert "<- best" in table
    best = tmp_path / "trials" / f"learning_rate={told['best']['optimizer.learning_rate']},epochs=1/model"
    name = "model.safetensors"
    assert (tmp_path / "model" / name).read_bytes() == (best / name).read_bytes()
    assert trials.run(config, str(tmp_path), search) == table
    assert capsys.readouterr().out.count("finished before") == 2
    freed = dataclasses.replace(config, train=dataclasses.replace(config.train, strategy="single"))
    assert trials.run(freed, str(tmp_path), search) == table
    other = dataclasses.replace(config, classifier_dropout=0.2)
    with pytest.raises(InputError, match="a trial of another config lives there, differing in classifier_dropout"):
        trials.run(other, str(tmp_path), search)


def test_repetitions_differ_in_their_seed_and_are_told_by_mean_and_deviation_of_the_sample(folder):
    config = config_of(folder)
    assert [trials._varied(config, number, None, seeds=3).train.seed for number in range(3)] == [12345, 12346, 12347]
    last = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=2**32 - 1))
    assert trials._varied(last, 1, None, seeds=2).train.seed == 0
    # Deviations -0.1, 0 and 0.1 of three: the root of 0.02 / 2.
    spread = trials._spread([{"accuracy": x, "examples": 8} for x in (0.5, 0.6, 0.7)])
    assert spread["accuracy"] == {"mean": pytest.approx(0.6), "sd": pytest.approx(0.1)}
    assert trials._spread([{"accuracy": 0.5}])["accuracy"] == {"mean": 0.5, "sd": 0.0}
    # A class of one fold only, or a score that not every run has.
    assert set(trials._spread([{"accuracy": 0.5, "f1": 0.5}, {"accuracy": 0.5}])) == {"accuracy"}


@pytest.mark.slow
def test_seeds_have_a_mean_and_a_deviation(folder, tmp_path):
    config = config_of(folder, train={"steps": 5})
    trials.run(config, str(tmp_path), [], seeds=2)
    told = json.loads((tmp_path / "trials.json").read_text())["trials"][0]["scores"]["accuracy"]
    one, two = (json.loads((tmp_path / f"trials/seed+{n}/evaluation.json").read_text())["accuracy"] for n in (0, 1))
    assert told["mean"] == pytest.approx((one + two) / 2)
    assert told["sd"] == pytest.approx(abs(one - two) / np.sqrt(2))
    seeds = [json.loads((tmp_path / f"trials/seed+{n}/config.json").read_text())["train"]["seed"] for n in (0, 1)]
    assert seeds == [12345, 12346]


def test_folds_hold_every_example_out_once(folder, tmp_path):
    trials.run(config_of(folder, train={"steps": 5}), str(tmp_path), [], folds=2)
    held_out = [
        json.loads(line)["text"]
        for part in (0, 1)
        for line in (tmp_path / f"trials/fold{part}of2/predictions.jsonl").read_text().splitlines()
    ]
    path = str(tmp_path / "trials/fold0of2")
    with pytest.raises(InputError, match="expected a run with validation data. Received a fold"):
        evaluation.run(path)
    texts = [line.split("\t")[0] for line in (folder / "train.tsv").read_text().splitlines()[1:]]
    assert sorted(held_out) == sorted(texts)


def test_wrong_use_is_told(folder, tmp_path):
    with pytest.raises(InputError, match="--search epochs: expected FIELD=VALUE,VALUE. Received no value."):
        trials.run(config_of(folder), str(tmp_path), ["epochs"])
    with pytest.raises(InputError, match="--set rate: the config has no field 'rate'"):
        trials.run(config_of(folder), str(tmp_path), ["rate=1"])
    with pytest.raises(InputError, match="--search train.steps: it follows from epochs. Expected --set epochs=none"):
        trials.run(config_of(folder, epochs=1.0), str(tmp_path), ["steps=1,2"])
    with pytest.raises(InputError, match="--seeds 2 --folds 2: expected one of them."):
        trials.run(config_of(folder), str(tmp_path), [], seeds=2, folds=2)
    with pytest.raises(InputError, match="tuning.metric=loss: expected a score of the finished models"):
        trials.run(config_of(folder, tuning=TuningConfig(metric="loss")), str(tmp_path), [], seeds=2)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.txt").write_text("not a model's")
    with pytest.raises(InputError, match="model: expected no folder, or one of an older model. Received one with m"):
        trials.run(config_of(folder), str(tmp_path), [], seeds=2)
    config = config_of(folder)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, mirror="gs://b/run"))
    with pytest.raises(InputError, match="train.mirror=gs://b/run: expected none with --search"):
        trials.run(config, str(tmp_path), [], seeds=2)


def test_results_of_other_data_are_not_compared(folder, tmp_path):
    shutil.copy(folder / "train.tsv", tmp_path / "train.tsv")
    config = config_of(folder, train={"steps": 5})
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, train=str(tmp_path / "train.tsv")))
    trials.run(config, str(tmp_path / "search"), ["learning_rate=1e-3"])
    lines = (folder / "train.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "train.tsv").write_text("".join(lines[:200]))
    with pytest.raises(InputError, match="a trial of other data or another init_from lives there"):
        trials.run(config, str(tmp_path / "search"), ["learning_rate=1e-3,1e-4"])


def test_a_metric_of_evaluations_alone_is_found_out_by_the_first_run(folder, tmp_path):
    config = config_of(folder, MultiLabelConfig, train={"steps": 5}, tuning=TuningConfig(metric="accuracy"))
    with pytest.raises(InputError, match="tuning.metric=accuracy: expected one of .*, by which runs are compared"):
        trials.run(config, str(tmp_path), [], seeds=3)
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["seed+0"]
