"""Several fine-tuning runs and a table: a search, several seeds, or folds. Each run is resumable on its own."""

import contextlib
import dataclasses
import hashlib
import itertools
import os
import shutil
import statistics
from collections.abc import Sequence
from typing import Any

import keras

from bert_tf.core import config_io, whole_file
from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError, StorageError
from bert_tf.interop import huggingface
from bert_tf.interop.source import open_source
from bert_tf.runs import evaluation, finetuning
from bert_tf.tasks.task import task_named
from bert_tf.training.engines.engine import engine_named

_SHORT = {
    "learning_rate": "optimizer.learning_rate",
    "batch_size": "train.global_batch_size",
    "steps": "train.steps",
    "seed": "train.seed",
}


def run(config: FinetuneConfig, workdir: str, search: Sequence[str], *, seeds: int = 1, folds: int = 1) -> str:
    """Runs all that are not finished, and writes workdir/trials.json and, of a search, workdir/model.

    Args:
      config: what they share.
      workdir: each run has a folder of its own in it.
      search: "FIELD=VALUE,VALUE" each.
      seeds: runs of each combination.
      folds: parts of the training data; 1 for none, then data.validation is what is held out.

    Returns:
      The table.

    Raises:
      InputError: see finetuning.run; a field without values; both seeds and folds; train.mirror.
    """
    if seeds > 1 and folds > 1:
        raise InputError(f"--seeds {seeds} --folds {folds}: expected one of them.")
    if config.train.mirror:
        raise InputError(
            f"train.mirror={config.train.mirror}: expected none with --search, --seeds or --folds, whose runs "
            "would all be copied over each other there."
        )
    objective = finetuning.trained_task(config.task)(data=config.data, settings=config.head).objective()
    if config.tuning.metric in ("loss", *objective.losses):
        raise InputError(
            f"tuning.metric={config.tuning.metric}: expected a score of the finished models, by which they are "
            "compared. Received a loss, which only evaluations during a run have."
        )
    huggingface.check_output(os.path.join(workdir, "model"), "--workdir")
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    combinations = _combinations(search)
    configs = [config_io.override(config, [f"{name}={value}" for name, value in c]) for c in combinations]
    for combination, changed in zip(combinations, configs, strict=True):
        for name, _ in combination:
            if changed.epochs is not None and name in config_io.FOLLOW_FROM_EPOCHS:
                raise InputError(f"--search {name}: it follows from epochs. Expected --set epochs=none with it.")
    repetitions = max(seeds, folds)
    parts = _folded(config, folds) if folds > 1 else [None] * repetitions
    for combination, changed in zip(combinations, configs, strict=True):
        scores: list[dict[str, float]] = []
        for number, examples in enumerate(parts):
            folder = os.path.join(workdir, "trials", _name(combination, number, seeds=seeds, folds=folds))
            try:
                found = _scores_of(_varied(changed, number, examples, seeds), folder, folds, examples)
            except StorageError:
                raise
            except InputError as error:
                # One that diverges is a result of a search, and no end of it.
                print(f"{folder}: failed: {error}", flush=True)
                failed.append(f"{folder}: {error}")
                continue
            metric = config.tuning.metric or _metric_of(config, folder)
            if metric not in found:  # only evaluations during a run have it; the other runs would not either
                known = ", ".join(found)
                raise InputError(f"tuning.metric={metric}: expected one of {known}, by which runs are compared.")
            scores.append(found)
        if scores:
            results.append({"values": dict(combination), "scores": _spread(scores), "folder": folder})
    if not results:
        raise InputError(failed[0])
    is_error = metric in task_named(config.task).errors
    best = (min if is_error else max)(results, key=lambda result: result["scores"][metric]["mean"])
    table = "\n".join([_table(results, metric, best), *(f"failed: {sentence}" for sentence in failed)])
    if not _is_chief(config):
        return table
    found = {"metric": metric, "best": best["values"], "trials": results, "failed": failed}
    whole_file.write_json(os.path.join(workdir, "trials.json"), found)
    if repetitions == 1:
        model = os.path.join(workdir, "model")
        source = os.path.join(best["folder"], "model")
        if not os.path.isdir(source):
            raise InputError(f"{source}: expected the model of the best trial. Received none; was it removed?")
        with whole_file.replacing_folder(model) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        table += f"\nThe best one's model is in {model}."
    return table


def _varied(config: FinetuneConfig, number: int, examples: dict | None, seeds: int) -> FinetuneConfig:
    """The config of one repetition: another seed, or the classes of all folds."""
    if seeds > 1:
        seed = (config.train.seed + number) % 2**32
        return dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    if examples is not None and getattr(config.data, "labels", ()) is None:
        # A class may be rare enough to be in one fold only.
        every = [*examples["train"], *examples["validation"]]
        labels = task_named(config.task).learn_labels(every, config.data, f"data.train={config.data.train}")
        if labels:
            data: Any = config.data
            return dataclasses.replace(config, data=dataclasses.replace(data, labels=tuple(labels)))
    return config


def _scores_of(
    config: FinetuneConfig, folder: str, folds: int, examples: dict[str, list[dict]] | None
) -> dict[str, float]:
    identity = {**dataclasses.asdict(config), "folds": folds, "read": _digests(config)}
    path, finished = (os.path.join(folder, name) for name in (evaluation.TRIAL, "evaluation.json"))
    if os.path.exists(path):
        there = config_io.read_json(path)
        # An older version kept nothing of what a trial reads.
        if there.get("read", identity["read"]) != identity["read"]:
            raise StorageError(
                f"{folder}: a trial of other data or another init_from lives there, which changed since under the same "
                "names. Take another --workdir."
            )
        differing = config_io.differences(there, config)
        if there["folds"] != folds:
            differing.append(f"folds (there {there['folds']}, now {folds})")
        if not differing and config_io.grows(there, config) and _is_chief(config):
            # More epochs than before: its scores are those of fewer, until it has gone on to its new end.
            with contextlib.suppress(FileNotFoundError):
                os.remove(finished)
            whole_file.write_json(path, identity)
        if differing:
            raise StorageError(
                f"{folder}: a trial of another config lives there, differing in {', '.join(differing)}. Take another "
                "--workdir, or give the same config to go on."
            )
    elif _is_chief(config):
        os.makedirs(folder, exist_ok=True)
        whole_file.write_json(path, identity)
    if os.path.exists(finished):
        print(f"{folder}: finished before", flush=True)
        return config_io.read_json(finished)
    print(f"{folder} ...", flush=True)
    scores = finetuning.run(config, folder, examples)
    keras.backend.clear_session()
    return scores


def _is_chief(config: FinetuneConfig) -> bool:
    return engine_named(config.train.engine)(config.train).worker.is_chief


def _digests(config: FinetuneConfig) -> dict[str, str]:
    """Of what a trial reads, so that results of other data or another start are not compared with each other."""
    found = {"init_from": open_source(config.init_from, "init_from").digest()}
    for split in evaluation.SPLITS:
        path = getattr(config.data, split)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                found[split] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _combinations(search: Sequence[str]) -> list[tuple[tuple[str, str], ...]]:
    axes = []
    for field in search:
        name, separator, values = field.partition("=")
        found = [value for value in values.split(",") if value]
        if not separator or not found:
            raise InputError(f"--search {field}: expected FIELD=VALUE,VALUE. Received no value.")
        axes.append([(_SHORT.get(name, name), value) for value in found])
    return list(itertools.product(*axes))


def _name(combination: Sequence[tuple[str, str]], number: int, *, seeds: int, folds: int) -> str:
    parts = [f"{name.rsplit('.', 1)[-1]}={value}" for name, value in combination]
    if seeds > 1:
        parts.append(f"seed+{number}")
    if folds > 1:
        parts.append(f"fold{number}of{folds}")
    return ",".join(parts).replace("/", "_")


def _folded(config: FinetuneConfig, folds: int) -> list[dict[str, list[dict]]]:
    """Each part of the training examples held out once: every `folds`-th example, as the file has them."""
    every = task_named(config.task).read(config.data, config.data.train, "data.train", labelled=True)
    if len(every) < folds:
        raise InputError(f"--folds {folds}: expected at least as many examples. data.train has {len(every)}.")
    return [
        {"train": [e for i, e in enumerate(every) if i % folds != part], "validation": every[part::folds]}
        for part in range(folds)
    ]


def _metric_of(config: FinetuneConfig, folder: str) -> str:
    labels = config_io.read_json(os.path.join(folder, "labels.json"))["labels"]
    return task_named(config.task)(labels=labels, data=config.data, settings=config.head).metric


def _spread(scores: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """{name: {"mean", "sd"}}; sd of the sample, 0 of a single run."""
    return {
        name: {
            "mean": statistics.fmean(one[name] for one in scores),
            "sd": statistics.stdev(one[name] for one in scores) if len(scores) > 1 else 0.0,
        }
        for name in scores[0]
        if all(name in one for one in scores)
    }


def _table(results: Sequence[dict], metric: str, best: dict) -> str:
    names = list(results[0]["values"])
    lines = ["".join(f"{name.rsplit('.', 1)[-1]:<20}" for name in names) + f"{metric:>20}"]
    for result in results:
        score = result["scores"][metric]
        told = f"{score['mean']:.4f}" + (f" +- {score['sd']:.4f}" if score["sd"] else "")
        mark = "  <- best" if result is best and len(results) > 1 else ""
        lines.append("".join(f"{result['values'][name]:<20}" for name in names) + f"{told:>20}{mark}")
    return "\n".join(lines)
