"""Fine-tuning runs by the function that the command calls: selection, early end, resumption, LoRA, several runs."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_tf.core.config import FinetuneConfig, OptimizerConfig, TrainConfig, TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.core.metrics_file import read_metrics
from bert_tf.interop import huggingface
from bert_tf.models.bert.config import BertConfig
from bert_tf.models.model import make_model
from bert_tf.runs import conversion, evaluation, finetuning, prediction
from bert_tf.serving import loading
from bert_tf.tasks.classification import ClassificationConfig
from bert_tf.tasks.embedding import EmbeddingConfig, EmbeddingHeadConfig
from bert_tf.tasks.fill_mask import FillMaskConfig
from bert_tf.tasks.shared.sections import TextDataConfig
from bert_tf.tasks.task import TASKS, task_named
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_tf.training.engines.tensorflow import TensorFlowEngine

WORDS = ("cat", "dog", "sun", "sea", "tree", "road", "bird", "fish")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model with random weights, and texts whose label is that they hold "cat"."""
    path = tmp_path_factory.mktemp("finetuning")
    config = BertConfig(
        vocab_size=13,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
        initializer_range=0.1,
    )
    keras.utils.set_random_seed(0)
    model = make_model(config, {"masked_lm": {}, "pair": {}})
    huggingface.save(
        str(path / "start"),
        model,
        vocabulary=Vocabulary((*SPECIAL_TOKENS, *WORDS)),
        tokenizer=TokenizerConfig(),
        max_seq_length=16,
    )
    rng = np.random.default_rng(0)
    for split, count in (("train", 256), ("validation", 64)):
        texts = [" ".join(rng.choice(WORDS, 5)) for _ in range(count)]
        rows = "".join(f"{text}\t{'yes' if 'cat' in text else 'no'}\n" for text in texts)
        (path / f"{split}.tsv").write_text("text\tlabel\n" + rows)
    return path


def config_of(folder, kind=ClassificationConfig, **changes) -> FinetuneConfig:
    """A small run of a task, `kind`, on the texts of `folder`."""
    train = {"steps": 40, "global_batch_size": 32, "steps_per_loop": 5, "log_every": 5, "evaluate_every": 10}
    train |= {"checkpoint_every": 5, "xla": "off"} | changes.pop("train", {})
    data = {"train": str(folder / "train.tsv"), "validation": str(folder / "validation.tsv"), "max_seq_length": 8}
    return kind(
        **{
            "data": dataclasses.replace(kind().data, **data),
            "optimizer": OptimizerConfig(learning_rate=3e-3, warmup_steps=4),
            "train": TrainConfig(**train),
            "init_from": str(folder / "start"),
            **changes,
        }
    )


def validation(workdir) -> list[dict]:
    return [line for line in read_metrics(str(workdir)) if line["split"] == "validation"]


def test_a_run_learns_and_tells_what_it_knows(folder, tmp_path, capsys):
    scores = finetuning.run(config_of(folder, epochs=6.0), str(tmp_path / "run"))
    out = capsys.readouterr().out
    assert "data.train=" in out and "256 examples, 256 rows" in out
    assert "fresh: classifier.weight, classifier.bias" in out
    assert scores["accuracy"] > scores["majority_baseline"] + 0.15
    # 6 epochs of 8 steps, one evaluation each, and one before the first.
    assert [line["step"] for line in validation(tmp_path / "run")] == [0, 8, 16, 24, 32, 40, 48]
    told = json.loads((tmp_path / "run/config.json").read_text())
    assert (told["train"]["steps"], told["optimizer"]["warmup_steps"]) == (48, 5)
    best = max(line["accuracy"] for line in validation(tmp_path / "run"))
    assert scores["accuracy"] == pytest.approx(best)  # the best evaluation's weights
    predictions = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    hits = [row["label"] == row["example"]["label"] for row in predictions]
    assert np.mean(hits) == pytest.approx(scores["accuracy"])
    assert "macro avg" in (tmp_path / "run/report.txt").read_text()
    assert (tmp_path / "run/confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert evaluation.run(str(tmp_path / "run")) == scores


@pytest.mark.parametrize("name", [n for n in TASKS if task_named(n).is_trained and n != "classification"])
def test_every_task_is_trained_and_scored(folder, tmp_path, name):
    """A few steps on examples of each kind; tests/runs/test_tasks_learn.py, which is slow, has whole runs."""
    task_class = task_named(name)
    changes = {"labels": ("B-X", "O")} if task_class.has_labels else {}
    if name == "embedding":
        changes["second_text_field"] = "second_text"
    config = config_of(folder, task_class.config_class, train={"steps": 4, "evaluate_every": 4, "steps_per_loop": 4})
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))
    task = task_class(labels=changes.get("labels", ()), data=config.data, settings=config.head)
    rng = np.random.default_rng(0)
    examples = [task.sample(" ".join(rng.choice(WORDS, 4))) for _ in range(40)]
    scores = finetuning.run(config, str(tmp_path / "run"), {"train": examples, "validation": examples[:24]})
    assert scores["examples"] == 24 and np.isfinite(scores[task.metric])
    before, after = validation(tmp_path / "run")
    assert after["loss"] < before["loss"]  # of what it was trained on
    assert len((tmp_path / "run/predictions.jsonl").read_text().splitlines()) == 24


def test_it_goes_on_from_its_own_head_only_with_the_same_labels(folder, tmp_path, capsys):
    first = config_of(folder, train={"steps": 5})
    finetuning.run(first, str(tmp_path / "first"))
    finetuning.run(dataclasses.replace(first, init_from=str(tmp_path / "first")), str(tmp_path / "second"))
    assert "fresh" not in capsys.readouterr().out.split("init_from=")[-1].splitlines()[0]
    renamed = (folder / "train.tsv").read_text().replace("\tyes", "\tsure")
    (tmp_path / "train.tsv").write_text(renamed)
    other = dataclasses.replace(first.data, train=str(tmp_path / "train.tsv"), validation=str(tmp_path / "train.tsv"))
    third = dataclasses.replace(first, init_from=str(tmp_path / "first"), data=other)
    finetuning.run(third, str(tmp_path / "third"))
    assert "fresh: classifier.weight" in capsys.readouterr().out.split("init_from=")[-1]


def test_an_unknown_label_in_validation_is_named(folder, tmp_path):
    (tmp_path / "bad.tsv").write_text("text\tlabel\ncat\tyes\ndog\tmaybe\n")
    config = config_of(folder)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, validation=str(tmp_path / "bad.tsv")))
    with pytest.raises(InputError, match="bad.tsv:3: expected a label of no, yes. Received: 'maybe'."):
        finetuning.run(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


class Killed(Exception):
    pass


def run_until(config: FinetuneConfig, workdir, step: int, monkeypatch) -> None:
    """Starts a run and ends it where it comes to a step."""
    run = TensorFlowEngine.run

    def dying(self, stream, first_step, count, **more):
        if first_step == step:
            raise Killed
        return run(self, stream, first_step, count, **more)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TensorFlowEngine, "run", dying)
        finetuning.run(config, str(workdir))


def test_a_run_of_epochs_is_resumed(folder, tmp_path, monkeypatch):
    config = config_of(folder, epochs=2.0)
    whole = finetuning.run(config, str(tmp_path / "whole"))
    run_until(config, tmp_path / "killed", 8, monkeypatch)
    assert finetuning.run(config, str(tmp_path / "killed")) == whole
    weights = [(tmp_path / name / "model/model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    with pytest.raises(InputError, match=r"differing in epochs \(there 2.0, now 1.0\)"):
        finetuning.run(dataclasses.replace(config, epochs=1.0), str(tmp_path / "killed"))


def test_lora_run_is_resumed_and_keeps_the_adapter_alone(folder, tmp_path, monkeypatch):
    config = config_of(folder, tuning=TuningConfig(method="lora", lora_rank=2, select="last"), train={"steps": 20})
    whole = finetuning.run(config, str(tmp_path / "whole"))
    run_until(config, tmp_path / "killed", 10, monkeypatch)
    assert finetuning.run(config, str(tmp_path / "killed")) == whole
    weights = [(tmp_path / name / "model/model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    sizes = {p.name: p.stat().st_size for p in (tmp_path / "whole/checkpoints").iterdir()}
    assert max(sizes.values()) < 0.5 * len(weights[0])
    # Without LoRA in the graph, the merged model answers the same.
    loaded = loading.load(str(tmp_path / "whole/model"))
    assert all("lora" not in v.path for v in loaded.model.variables)
    conversion.run(str(folder / "start"), str(tmp_path / "merged"), str(tmp_path / "whole/adapter"))
    examples = [{"place": "x", "text": text} for text in ("cat dog", "sun sea")]
    merged = loading.load(str(tmp_path / "merged"))
    assert merged.answers(examples) == loaded.answers(examples)


def test_a_run_ends_early_and_stays_ended(folder, tmp_path, capsys):
    # A rate of next to nothing: after the first no evaluation is better.
    config = config_of(
        folder, tuning=TuningConfig(early_stopping=2, metric="loss"), train={"steps": 400, "evaluate_every": 5}
    )
    config = dataclasses.replace(
        config, optimizer=dataclasses.replace(config.optimizer, learning_rate=1e-12, warmup_steps=0)
    )
    scores = finetuning.run(config, str(tmp_path / "run"))
    steps = [line["step"] for line in validation(tmp_path / "run")]
    assert steps[-1] < 400
    assert "no loss better than that of step" in capsys.readouterr().out
    assert finetuning.run(config, str(tmp_path / "run")) == scores
    assert [line["step"] for line in validation(tmp_path / "run")] == steps


def test_a_metric_that_is_none_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="tuning.metric=beauty: expected one of loss, classification_loss, accuracy"):
        finetuning.run(config_of(folder, tuning=TuningConfig(metric="beauty")), str(tmp_path / "run"))
    assert not (tmp_path / "run/config.json").exists()  # the corrected command finds an empty workdir


def test_a_start_that_has_changed_is_refused(folder, tmp_path):
    shutil.copytree(folder / "start", tmp_path / "start")
    config = dataclasses.replace(config_of(folder, train={"steps": 5}), init_from=str(tmp_path / "start"))
    finetuning.run(config, str(tmp_path / "run"))
    tensors = load_file(tmp_path / "start/model.safetensors")
    save_file({name: x + 1 for name, x in tensors.items()}, tmp_path / "start/model.safetensors")
    with pytest.raises(InputError, match="expected the init_from_digest that its run began with"):
        finetuning.run(config, str(tmp_path / "run"))


def test_a_model_is_not_asked_for_another_task(folder, tmp_path):
    finetuning.run(config_of(folder, train={"steps": 5}), str(tmp_path / "run"))
    with pytest.raises(InputError, match="--task multi_label: expected the task of .* It was made for classification."):
        loading.load(str(tmp_path / "run/model"), task="multi_label")


def test_a_pretrained_model_fills_masks_and_judges_pairs(folder):
    (answer,) = prediction.run(str(folder / "start"), ["cat [MASK] sun"])
    assert len(answer["masks"]) == 1
    assert all(candidate["token"] in (*SPECIAL_TOKENS, *WORDS) for candidate in answer["masks"][0])
    pair = {"place": "x", "text": "cat", "second_text": "dog"}
    (answer,) = prediction.run(str(folder / "start"), [pair], task="next_sentence")
    assert 0.0 < answer["probability"] < 1.0


def test_adapters_are_not_opened_as_if_they_were_not_there(folder, tmp_path):
    tuned = TuningConfig(method="adapters", adapter_size=4)
    scores = finetuning.run(config_of(folder, tuning=tuned, train={"steps": 20}), str(tmp_path / "run"))
    assert evaluation.run(str(tmp_path / "run")) == scores
    settings = json.loads((tmp_path / "run/model/config.json").read_text())
    assert settings["model_type"] != "bert"
    again = dataclasses.replace(config_of(folder), init_from=str(tmp_path / "run"))
    with pytest.raises(InputError, match="expected a model without adapters, or tuning.method=adapters"):
        finetuning.run(again, str(tmp_path / "again"))
    # The adapters alone, put into their base again, are the same model.
    conversion.run(str(folder / "start"), str(tmp_path / "put_together"), str(tmp_path / "run/adapter"))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run/model", "put_together")]
    assert weights[0] == weights[1]
    examples = [{"place": "x", "text": text} for text in ("cat dog", "sun sea")]
    answers = [loading.load(str(tmp_path / name)).answers(examples) for name in ("run/model", "put_together")]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("method", ["lora", "adapters"])
def test_frozen_layers_say_nothing_where_all_are_frozen(method):
    with pytest.raises(InputError, match=f"tuning.frozen_layers must be 0 with tuning.method={method}, .* Received: 1"):
        TuningConfig(method=method, frozen_layers=1)


def test_contrastive_groups_must_divide_the_rows(folder, tmp_path):
    (tmp_path / "a.tsv").write_text("text\tsecond\n" + "cat sun\tdog sea\n" * 64)
    data = TextDataConfig(
        train=str(tmp_path / "a.tsv"),
        validation=str(tmp_path / "a.tsv"),
        second_text_field="second",
        max_seq_length=8,
    )
    head = EmbeddingHeadConfig(contrastive_group=32)
    config = config_of(folder, EmbeddingConfig, data=data, head=head, train={"microbatches": 2})
    with pytest.raises(InputError, match=r"contrastive_group=32: expected a divisor of .*, 32 / \(1 x 2\)"):
        finetuning.run(config, str(tmp_path / "run"))


def test_pretraining_tasks_are_not_finetuned(folder, tmp_path):
    with pytest.raises(InputError, match="task=fill_mask: bert_tf.pretrain trains it. Expected one of class"):
        finetuning.run(config_of(folder, FillMaskConfig), str(tmp_path / "run"))


# That replicas change no step is tested on the trainer too; here it is their groups of pairs.
@pytest.mark.parametrize("task", [pytest.param("classification", marks=pytest.mark.slow), "embedding"])
def test_replicas_change_neither_the_steps_nor_the_scores(folder, tmp_path, task):
    """Two replicas and one: the same weights and answers, though the rows are no multiple of the batch."""
    if task == "embedding":
        for split, count in (("train", 64), ("validation", 50)):
            pairs = "".join(f"{a} {b}\t{b} {a}\n" for a, b in zip(WORDS * 8, WORDS[3:] * 20, strict=False))
            (tmp_path / f"{split}.tsv").write_text("text\tsecond\n" + "\n".join(pairs.splitlines()[:count]) + "\n")
    # Replicas draw differently.
    shutil.copytree(folder / "start", tmp_path / "start")
    settings = json.loads((tmp_path / "start/config.json").read_text())
    settings |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (tmp_path / "start/config.json").write_text(json.dumps(settings))
    runs = {}
    for strategy in ("single", "mirrored"):
        train = {"steps": 20, "strategy": strategy, "evaluate_examples": 50}
        changes = {"train": train, "init_from": str(tmp_path / "start"), "classifier_dropout": 0.0}
        if task == "embedding":
            head = EmbeddingHeadConfig(contrastive_group=8)
            config = config_of(tmp_path, EmbeddingConfig, head=head, **changes)
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, second_text_field="second"))
        else:
            config = config_of(folder, **changes)
        runs[strategy] = finetuning.run(config, str(tmp_path / strategy)), validation(tmp_path / strategy)
    assert runs["single"][0] == pytest.approx(runs["mirrored"][0], abs=1e-4)
    for one, two in zip(runs["single"][1], runs["mirrored"][1], strict=True):
        assert one == pytest.approx(two, abs=1e-4)
    weights = [load_file(tmp_path / strategy / "model/model.safetensors") for strategy in ("single", "mirrored")]
    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, atol=2e-4, err_msg=name)


def test_other_validation_data_is_not_taken_for_the_same(folder, tmp_path):
    """The best evaluation so far would be one of other examples."""
    shutil.copy(folder / "validation.tsv", tmp_path / "validation.tsv")
    config = config_of(folder, train={"steps": 5})
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, validation=str(tmp_path / "validation.tsv"))
    )
    finetuning.run(config, str(tmp_path / "run"))
    lines = (folder / "validation.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "validation.tsv").write_text("".join(lines[:40]))
    with pytest.raises(InputError, match="expected the validation_digest that its run began with"):
        finetuning.run(config, str(tmp_path / "run"))


def test_pairs_want_a_model_of_two_segments(folder, tmp_path):
    shutil.copytree(folder / "start", tmp_path / "start")
    tensors = load_file(tmp_path / "start/model.safetensors")
    name = "bert.embeddings.token_type_embeddings.weight"
    save_file({**tensors, name: tensors[name][:1].copy()}, tmp_path / "start/model.safetensors")
    settings = json.loads((tmp_path / "start/config.json").read_text())
    (tmp_path / "start/config.json").write_text(json.dumps({**settings, "type_vocab_size": 1}))
    config = dataclasses.replace(config_of(folder, train={"steps": 5}), init_from=str(tmp_path / "start"))
    finetuning.run(config, str(tmp_path / "single"))
    pairs = dataclasses.replace(config, data=dataclasses.replace(config.data, second_text_field="text"))
    with pytest.raises(InputError, match="expected a model for pairs of texts, with type_vocab_size 2. Received one w"):
        finetuning.run(pairs, str(tmp_path / "pairs"))


def test_what_follows_from_epochs_is_not_set_beside_them(command, folder, tmp_path):
    arguments = ["--config", "configs/finetune_mrpc.py", "--workdir", tmp_path / "run"]
    for name in ("train.steps", "train.evaluate_every", "optimizer.warmup_steps"):
        told = command("bert_tf.finetune", *arguments, "--set", f"{name}=7")
        assert told.returncode == 1
        assert f"--set {name}=7: epochs=3 determines this field. Add --set epochs=none to set it." in told.stderr
    # Saving more often is no contradiction.
    config = config_of(folder, epochs=2.0, train={"checkpoint_every": 3})
    found = finetuning._resolved(config, 256)
    assert (found.train.steps, found.train.evaluate_every, found.train.checkpoint_every) == (16, 8, 3)
