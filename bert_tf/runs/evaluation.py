"""The scores of a finished run on its validation data. bert_tf.evaluate is its command."""

import json
import os

from bert_tf.core import config_io, whole_file
from bert_tf.core.config import PretrainConfig
from bert_tf.core.config_finetune import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.tasks import task_named

TRIAL = "trial.json"  # what one of several runs was made with, in its folder
SPLITS = ("train", "validation")


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
    if "task" in config_io.read_json(config_path):
        scores = _task_scores(config_io.restore(FinetuneConfig, config_path), workdir, examples)
    else:
        scores = _pretraining_scores(config_io.restore(PretrainConfig, config_path), workdir)
    whole_file.write_json(os.path.join(workdir, "evaluation.json"), scores)
    return scores


def read_examples(config: FinetuneConfig) -> dict[str, list[dict]]:
    """The labelled examples of data.train and data.validation."""
    task_class = task_named(config.task)
    return {
        split: task_class.read(config.data, getattr(config.data, split), f"data.{split}", labelled=True)
        for split in SPLITS
    }


def _task_scores(config: FinetuneConfig, workdir: str, examples: dict[str, list[dict]] | None) -> dict[str, float]:
    from bert_tf.serving import loading

    trial = os.path.join(workdir, TRIAL)
    if examples is None and os.path.exists(trial) and config_io.read_json(trial).get("folds", 1) > 1:
        raise InputError(f"--workdir {workdir}: expected a run with validation data. Received a fold, which has none.")
    loaded = loading.load(os.path.join(workdir, "model"), "--workdir")
    examples = examples or read_examples(config)
    held_out = examples["validation"]
    answers = loaded.answers(held_out)
    with whole_file.replacing(os.path.join(workdir, "predictions.jsonl")) as file:
        for example, answer in zip(held_out, answers, strict=True):
            truth = {name: example[name] for name in ("label", "tags", "answers") if name in example}
            file.write(json.dumps({"example": truth, **answer}, ensure_ascii=False) + "\n")
    report, confusion = loaded.task.report(held_out, answers), loaded.task.confusion(held_out, answers)
    if report is not None:
        with whole_file.replacing(os.path.join(workdir, "report.txt")) as file:
            file.write(report)
    if confusion is not None:
        from bert_tf import plots

        plots.draw_confusion(confusion, loaded.task.labels, os.path.join(workdir, "confusion.png"))
    return {
        **loaded.task.scores(held_out, answers),
        **loaded.task.baseline(examples["train"], held_out),
    }


def _pretraining_scores(config: PretrainConfig, workdir: str) -> dict[str, float]:
    import tensorflow as tf

    from bert_tf.interop import huggingface
    from bert_tf.objectives.masked_lm import BertForPreTraining
    from bert_tf.training.data import shard_folder, shard_input
    from bert_tf.training.engines import strategy
    from bert_tf.training.evaluator import Evaluator

    train = config.train
    field = "data.train" if config.data.validation is None else "data.validation"
    folder = shard_folder.ShardFolder.open(config.data.validation or config.data.train, field)
    directory = huggingface.open_directory(os.path.join(workdir, "model"), "--workdir")
    shard_folder.check_vocabulary(folder, field, directory.vocabulary, directory.path)
    # A finished run is evaluated where it lies, by one process.
    distribution = strategy.create("single" if train.strategy in ("auto", "multi_worker") else train.strategy)
    with distribution.scope():
        model = BertForPreTraining(directory.config, dtype=train.precision)
        model.build()
        huggingface.load_all_weights(directory.path, model)
    try:
        return Evaluator(model, distribution).evaluate(shard_input.validation_of(config, folder, field)) or {}
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
        damage = shard_folder.find_damage(folder, folder.paths("validation"))
        if damage is None:
            raise
        raise InputError(f"{field}={folder.path}: expected readable shards. Received: {damage}.") from None
