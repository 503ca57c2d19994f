"""A run that is given more epochs or steps goes on from where it stopped."""

import dataclasses
import json

import numpy as np
import pytest
import test_finetuning
from test_finetuning import config_of, validation

from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig, TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.core.metrics_file import read_metrics
from bert_tf.models.bert.config import BertConfig
from bert_tf.runs import finetuning, pretraining, trials

folder = test_finetuning.folder  # a fixture
CONSTANT = OptimizerConfig(learning_rate=3e-3, final_learning_rate=3e-3, warmup_steps=4)


def longer(config, **train):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


def weights(workdir) -> bytes:
    return (workdir / "model/model.safetensors").read_bytes()


def rates(workdir) -> dict[int, float]:
    return {line["step"]: line["learning_rate"] for line in read_metrics(str(workdir)) if line["split"] == "train"}


def test_where_rates_do_not_depend_on_the_steps_it_is_as_if_it_had_not_stopped(folder, tmp_path, capsys):
    short = config_of(folder, optimizer=CONSTANT, tuning=TuningConfig(select="last"), train={"steps": 10})
    finetuning.run(short, str(tmp_path / "run"))
    first = weights(tmp_path / "run")
    capsys.readouterr()
    scores = finetuning.run(longer(short, steps=20), str(tmp_path / "run"))
    out = capsys.readouterr().out
    sentence = (
        "the run goes on to step 20 instead of 10. Its learning rates are those of an uninterrupted run of 20 steps"
    )
    assert sentence in out
    assert "resuming at step 10 of 20" in out
    assert scores == finetuning.run(longer(short, steps=20), str(tmp_path / "whole"))
    assert first != weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert validation(tmp_path / "run") == validation(tmp_path / "whole")
    with pytest.raises(InputError, match=r"differing in train.steps \(there 20, now 10\)"):
        finetuning.run(short, str(tmp_path / "run"))


def test_more_epochs_follow_the_longer_schedule_and_say_so(folder, tmp_path, capsys):
    config = config_of(folder, epochs=1.0, tuning=TuningConfig(select="last"))
    finetuning.run(config, str(tmp_path / "run"))
    finetuning.run(dataclasses.replace(config, epochs=3.0), str(tmp_path / "run"))
    # 8 steps an epoch; of 24 steps the rate at step 8 is 3e-3 (1 - 8 / 24), and of 8 it was to be 0.
    sentence = "From here on its learning rates are those of a run of 24 steps, 0.002 instead of 0 at step 8."
    out = capsys.readouterr().out
    assert sentence in out and "so the result differs from that of an uninterrupted run of 24 steps" in out
    finetuning.run(dataclasses.replace(config, epochs=3.0), str(tmp_path / "whole"))
    assert weights(tmp_path / "run") != weights(tmp_path / "whole")
    gone_on, whole = rates(tmp_path / "run"), rates(tmp_path / "whole")
    assert list(gone_on)[-1] == 24 and gone_on[5] != pytest.approx(whole[5])
    assert {step: rate for step, rate in gone_on.items() if step > 10} == {s: r for s, r in whole.items() if s > 10}
    assert [line["step"] for line in validation(tmp_path / "run")] == [0, 8, 16, 24]
    assert json.loads((tmp_path / "run/config.json").read_text())["epochs"] == 3.0


def test_a_run_that_ended_early_is_refused_and_left_as_it_is(folder, tmp_path, capsys):
    """It said that it goes on, ended at once, and had the new number of steps in its config.json."""
    tuning = TuningConfig(early_stopping=1, metric="loss")
    sleepy = OptimizerConfig(learning_rate=1e-12, warmup_steps=0)
    config = config_of(folder, tuning=tuning, optimizer=sleepy, train={"steps": 60, "evaluate_every": 5})
    finetuning.run(config, str(tmp_path / "run"))
    end = validation(tmp_path / "run")[-1]["step"]
    assert end < 60
    capsys.readouterr()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"Received one that tuning.early_stopping=1 ended at step {end}, because no"):
        finetuning.run(longer(config, steps=80), str(tmp_path / "run"))
    assert "the run goes on" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    finetuning.run(config, str(tmp_path / "run"))  # the same command makes the same model again
    assert f"the run ends here, at step {end} of 60" in capsys.readouterr().out


def test_a_trial_goes_on_and_its_old_scores_are_not_taken_for_new_ones(folder, tmp_path, capsys):
    config = config_of(folder, epochs=1.0)
    trials.run(config, str(tmp_path), ["learning_rate=3e-3"])
    trial = tmp_path / "trials/learning_rate=3e-3"
    more = dataclasses.replace(config, epochs=3.0)
    capsys.readouterr()
    trials.run(more, str(tmp_path), ["learning_rate=3e-3"])
    out = capsys.readouterr().out
    assert "finished before" not in out and "resuming at step 8 of 24" in out
    assert json.loads((trial / "trial.json").read_text())["epochs"] == 3.0
    found = json.loads((tmp_path / "trials.json").read_text())["trials"][0]["scores"]["accuracy"]["mean"]
    assert found == pytest.approx(max(line["accuracy"] for line in validation(trial) if line["step"]))
    trials.run(more, str(tmp_path), ["learning_rate=3e-3"])
    assert "finished before" in capsys.readouterr().out


def test_pretraining_goes_on_for_more_steps(shards, tmp_path, capsys):
    config = PretrainConfig(
        model=BertConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
        ),
        data=PretrainDataConfig(train=str(shards)),
        optimizer=dataclasses.replace(CONSTANT, warmup_steps=2),
        train=TrainConfig(
            steps=2, global_batch_size=8, steps_per_loop=2, log_every=2, evaluate_every=2, checkpoint_every=2, xla="off"
        ),
    )
    pretraining.run(config, str(tmp_path / "run"))
    found = pretraining.run(longer(config, steps=4), str(tmp_path / "run"))
    assert "the run goes on to step 4 instead of 2." in capsys.readouterr().out
    whole = pretraining.run(longer(config, steps=4), str(tmp_path / "whole"))
    assert found == whole and np.isfinite(found["loss"])
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
