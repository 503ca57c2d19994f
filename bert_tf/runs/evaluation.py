"""The scores of a finished run on its validation data. bert_tf.evaluate is its command."""

import dataclasses
import json
import os

from bert_tf.core import config_io, whole_file
from bert_tf.core.config import FinetuneConfig, PretrainConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import huggingface
from bert_tf.models.family import family_of
from bert_tf.objectives.objective import objective_named
from bert_tf.runs import charts, model_card, pretraining
from bert_tf.serving import loading
from bert_tf.tasks.shared.truncation import Truncation
from bert_tf.tasks.task import restore_config, task_named
from bert_tf.training import evaluation
from bert_tf.training.data import shard_folder, shard_input
from bert_tf.training.engines.engine import engine_named

TRIAL = "trial.json"  # what one of several runs was made with, in its folder
SPLITS = ("train", "validation")
_TOLERATED_DIFFERENCE = 0.005  # between the scores of texts and of given words


def run(workdir: str, examples: dict[str, list[dict]] | None = None) -> dict[str, float]:
    """The scores of workdir/model on the validation data of the run's config, written to workdir/evaluation.json.

    Of a fine-tuned model also predictions.jsonl (each example with its answer), report.txt and confusion.png.

    Args:
      workdir: of the run.
      examples: of a task, {"train", "validation"}, where they are not those of the config's files.

    Raises:
      InputError: not a finished run.
    """
    config_path = os.path.join(workdir, "config.json")
    for path in (config_path, os.path.join(workdir, "model")):
        if not os.path.exists(path):
            raise InputError(
                f"--workdir {workdir}: expected a finished run. Received one without {os.path.basename(path)}."
            )
    values = config_io.read_json(config_path)
    if "task" in values:
        scores = _task_scores(restore_config(config_path), workdir, examples)
    else:
        family = family_of(values.get("model", {}).get("model_type", "bert"), config_path)
        config = config_io.restore(PretrainConfig, config_path, {"model": family.config_class})
        scores = _pretraining_scores(config, workdir)
    whole_file.write_json(os.path.join(workdir, "evaluation.json"), scores)
    model_card.write(workdir, scores)
    return scores


def read_examples(config: FinetuneConfig) -> dict[str, list[dict]]:
    """The labelled examples of data.train and data.validation."""
    task_class = task_named(config.task)
    return {
        split: task_class.read(config.data, getattr(config.data, split), f"data.{split}", labelled=True)
        for split in SPLITS
    }


def _task_scores(config: FinetuneConfig, workdir: str, examples: dict[str, list[dict]] | None) -> dict[str, float]:
    trial = os.path.join(workdir, TRIAL)
    if examples is None and os.path.exists(trial) and config_io.read_json(trial).get("folds", 1) > 1:
        raise InputError(f"--workdir {workdir}: expected a run with validation data. Received a fold, which has none.")
    loaded = loading.load(os.path.join(workdir, "model"), "--workdir")
    examples = examples or read_examples(config)
    held_out = examples["validation"]
    truncation: list[Truncation] = []
    answers = loaded.answers(held_out, truncation.append)
    print(f"data.validation: {sum(truncation, Truncation())}", flush=True)
    with whole_file.replacing(os.path.join(workdir, "predictions.jsonl")) as file:
        for example, answer in zip(held_out, answers, strict=True):
            truth = {name: example[name] for name in ("label", "tags", "entities", "answers") if name in example}
            file.write(json.dumps({"example": truth, **answer}, ensure_ascii=False) + "\n")
    report, confusion = loaded.task.report(held_out, answers), loaded.task.confusion(held_out, answers)
    if report is not None:
        with whole_file.replacing(os.path.join(workdir, "report.txt")) as file:
            file.write(report)
    if confusion is not None:
        charts.draw_confusion(confusion, loaded.task.labels, os.path.join(workdir, "confusion.png"))
    return {
        **_scores_with_texts(loaded, held_out, loaded.task.scores(held_out, answers)),
        **loaded.task.baseline(examples["train"], held_out),
    }


def _scores_with_texts(loaded: loading.Loaded, examples: list[dict], scores: dict[str, float]) -> dict[str, float]:
    """The scores, and those of the examples in the form in which users ask them, with a warning where they differ."""
    asked = loaded.task.as_asked(examples)
    if not asked:
        return scores
    found = loaded.task.scores_as_asked(asked, loaded.answers(asked))
    metric = loaded.task.metric
    text, given = found[f"text_{metric}"], scores[metric]
    if abs(text - given) > _TOLERATED_DIFFERENCE:
        print(
            f"warning: data.validation: {metric} is {text:.3f} for texts and {given:.3f} for the words of the file: "
            "texts are split otherwise, or the model has not learned every part of a word. Fine-tune it with this "
            "version, or send words (docs/tasks.md).",
            flush=True,
        )
    return scores | found


def _pretraining_scores(config: PretrainConfig, workdir: str) -> dict[str, float]:
    field, folders = list(pretraining.open_folders(config).items())[-1]
    folder = folders[0]
    directory = huggingface.open_directory(os.path.join(workdir, "model"), "--workdir")
    shard_folder.check_vocabulary(folder, field, directory.vocabulary, directory.path)
    config = shard_folder.settled(config, folder)
    objective = objective_named(config.objective, shard_folder.layout_of(config, folder.layout))
    # A finished run is evaluated where it lies, by one process.
    train = config.train
    if train.strategy in ("auto", "multi_worker"):
        train = dataclasses.replace(train, strategy="single")
    engine = engine_named(train.engine)(train)
    engine.start()

    def make_model():
        model = objective.make_model(directory.config, train.precision)
        huggingface.load_all_weights(directory.path, model)
        return model

    engine.place(make_model, objective)
    with engine.explained(f"{field}={folder.path}", lambda: shard_folder.validation_damage(folders)):
        return evaluation.evaluate(engine, objective, shard_input.validation_of(config, folders, field)) or {}
