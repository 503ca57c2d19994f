"""One fine-tuning run: data, model, training, the model directory, scores. bert_tf.finetune is its command."""

import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import adapters, huggingface, sentence_transformers
from bert_tf.interop.sentence_transformers import Pooling
from bert_tf.interop.source import Source, open_source
from bert_tf.models import tuning
from bert_tf.models.family import architecture_of, records
from bert_tf.models.model import Model
from bert_tf.runs import evaluation, selection
from bert_tf.runs.run import Run
from bert_tf.serving.loading import kept_pooler
from bert_tf.tasks.graph import Rows, TaskGraph, check_segments, task_model
from bert_tf.tasks.shared import loss_weights
from bert_tf.tasks.task import TASKS, Task, task_for, task_named
from bert_tf.training.data import example_input
from bert_tf.training.data.batches import Batches
from bert_tf.training.engines.engine import Training


def run(config: FinetuneConfig, workdir: str, examples: dict[str, list[dict]] | None = None) -> dict[str, float]:
    """Trains to the last step, or until no evaluation is better, and writes workdir/model.

    Args:
      config: the run.
      workdir: its folder; what a run was stopped at is taken up there.
      examples: {"train", "validation"} where they are not to be read from files.

    Returns:
      The scores on the validation examples.

    Raises:
      InputError: whatever does not fit; Preempted, StorageError: see Trainer.fit.
    """
    trained_task(config.task)
    this = Run(config, workdir)
    source = open_source(config.init_from, "init_from")
    _check_length(config, source)
    if examples is None:
        examples = evaluation.read_examples(config)
    task, keeps_head = _task(config, source, examples)
    check_segments(task, source.config, f"init_from={source.path}")
    if config.task == "embedding":
        _report_pooling(source, task.settings)
    graph = TaskGraph(task, source.make_tokenizer())
    looked_at = {**examples, "validation": examples["validation"][: config.train.evaluate_examples]}
    rows = {split: graph.rows(looked_at[split], labelled=True) for split in evaluation.SPLITS}
    if this.is_chief:
        for split in evaluation.SPLITS:
            _report(split, getattr(config.data, split), examples[split], rows[split])
    config = _resolved(config, rows["train"].size)
    _check_groups(config, task, this.engine.replicas)
    arrays = {split: rows[split].arrays for split in evaluation.SPLITS}
    objective = loss_weights.objective_of(task, config.tuning, arrays["train"])
    arrays["train"] = loss_weights.weighed(task, config.tuning, arrays["train"])
    identity = {
        "labels": task.labels if task.has_labels else [],
        "vocabulary_sha256": source.vocabulary.sha256,
        # A resumed run reads what it does not learn from there again.
        "init_from_digest": source.digest(),
        "data_digest": _digest(arrays["train"]),
        # The best evaluation so far is one of these examples.
        "validation_digest": _digest(arrays["validation"]),
    }
    this.check_identity("labels.json", identity, functools.partial(_advice, task, this.model_path))
    chosen = selection.selection_of(
        config, graph, objective, looked_at["validation"], rows["validation"], keeps_head=keeps_head
    )
    trainer = this.trainer(
        config,
        functools.partial(_make_model, config, task, source, keeps_head=keeps_head),
        objective,
        training=Training(config.optimizer, functools.partial(tuning.rate_shares, decay=config.tuning.layer_decay)),
        selection=chosen,
    )
    selection.check_metric(config, graph, objective, trainer.model, looked_at["validation"])
    batch_size = config.train.global_batch_size
    batches = Batches(
        training=functools.partial(
            example_input.training_batches, arrays["train"], global_batch_size=batch_size, seed=config.train.seed
        ),
        validation=functools.partial(
            example_input.validation_batches, arrays["validation"], global_batch_size=batch_size
        ),
        sources=lambda first, count: f"data.train={config.data.train}",
    )
    with this.trained(config, trainer, batches) as scores:
        if this.is_chief:
            selection.keep(config, trainer, chosen, workdir)
            _save(config, task, source, trainer.model, workdir)
            print(f"data.train: {rows['train'].truncation}", flush=True)
            scores = evaluation.run(workdir, examples)
    return scores


def trained_task(name: str) -> type[Task]:
    """The class of a task that fine-tuning trains.

    Raises:
      InputError: pretraining trains its head.
    """
    task_class = task_named(name)
    if not task_class.is_trained:
        trained = ", ".join(other for other in TASKS if task_named(other).is_trained)
        raise InputError(f"task={name}: bert_tf.pretrain trains it. Expected one of {trained}.")
    return task_class


def _check_length(config: FinetuneConfig, source: Source) -> None:
    if config.data.max_seq_length > source.config.max_position_embeddings:
        raise InputError(
            f"data.max_seq_length={config.data.max_seq_length}: expected at most the "
            f"{source.config.max_position_embeddings} positions of init_from={config.init_from}."
        )


def _task(config: FinetuneConfig, source: Source, examples: dict[str, list[dict]]) -> tuple[Task, bool]:
    """The task with its classes, and whether the source's head is one of the same classes."""
    task_class = task_named(config.task)
    labels = task_class.learn_labels(examples["train"], config.data, f"data.train={config.data.train}")
    known = _labels_of_same_head(source, task_class)
    if getattr(config.data, "labels", None) is None and known is not None and sorted(known) == sorted(labels):
        labels = known  # in the order that the source's head has them
    task = task_class(labels=labels, data=config.data, settings=config.head)
    task.check_labels(examples["validation"])
    return task, known is not None and labels == known


def _report(split: str, path: str, examples: Sequence[dict], rows: Rows) -> None:
    notes = "".join(f"; {count} {note}" for note, count in rows.notes.items())
    print(f"data.{split}={path}: {len(examples)} examples, {rows.size} rows{notes}; {rows.truncation}", flush=True)


def _resolved(config: FinetuneConfig, rows: int) -> FinetuneConfig:
    """The config with what follows from epochs."""
    if config.epochs is None:
        return config
    per_epoch = math.ceil(rows / config.train.global_batch_size)
    steps = max(1, round(config.epochs * per_epoch))
    interval = min(per_epoch, steps)
    often = min(config.train.checkpoint_every, interval)
    train = dataclasses.replace(config.train, steps=steps, evaluate_every=interval, checkpoint_every=often)
    warmup = round(config.warmup_proportion * steps)
    return dataclasses.replace(
        config, train=train, optimizer=dataclasses.replace(config.optimizer, warmup_steps=warmup)
    )


def _check_groups(config: FinetuneConfig, task: Task, replicas: int) -> None:
    rows = config.train.global_batch_size // (replicas * config.train.microbatches)
    if rows % task.group():
        raise InputError(
            f"head.contrastive_group={task.group()}: expected a divisor of the rows of a replica and microbatch, "
            f"{config.train.global_batch_size} / ({replicas} x {config.train.microbatches})."
        )


def _advice(task: Task, model_path: str, what: str, there: Any) -> str | None:
    """What to do with a workdir of version 0.1, whose tags have no I- for the further parts of a word."""
    if what != "labels" or not task.continues_labels(there):
        return None
    model = f"Use its model {model_path}, or start" if os.path.exists(model_path) else "Start"
    return (
        "This version also learns tags of the further parts of a word, so it cannot resume this run of version 0.1. "
        f"{model} a new run in another --workdir."
    )


def _make_model(config: FinetuneConfig, task: Task, source: Source, *, keeps_head: bool) -> Model:
    settings = config.tuning
    model = task_model(
        task,
        source.config,
        dropout=config.classifier_dropout,
        dtype=config.train.precision,
        with_pooler=kept_pooler(task, source.directory),
        adapter_size=settings.adapter_size if settings.method == "adapters" else None,
    )
    # A head of other labels is no start, even where it has as many.
    heads = [record.name for record in records(model) if record.part == "head"]
    report = source.load_weights(model, () if keeps_head else heads)
    # A pooler that was not there has to learn.
    tuning.prepare(model, settings, learning=source.fresh_records(model, report))
    learning, every = tuning.trained_share(model)
    print(f"init_from={config.init_from}: {report}", flush=True)
    print(f"{learning:,} of {every:,} parameters are trainable ({learning / every:.2%})", flush=True)
    if not learning:
        raise InputError(
            f"tuning.frozen_layers={settings.frozen_layers}: expected a weight that learns. Received none."
        )
    return model


def _report_pooling(source: Source, settings: Any) -> None:
    """Says where this run makes vectors in another way than the sentence-transformers folder that it starts from."""
    found = sentence_transformers.read(source.path, lower_case=source.tokenizer.lower_case)
    if found is None:
        return
    other = {name: value for name, value in found[0].head_settings().items() if value != getattr(settings, name)}
    if other:
        theirs = " ".join(f"--set head.{name}={value!r}" for name, value in other.items())
        print(f"warning: init_from={source.path} makes vectors in another way than this run: {theirs}", flush=True)


def _labels_of_same_head(source: Source, task_class: type[Task]) -> list[str] | None:
    """The labels of the source's head if it is one of this task, [] for heads without labels; None for another head."""
    directory = source.directory
    if directory is None:
        return None
    try:
        made_for = directory.task_settings.get("task") or task_for(directory.heads, directory.settings, source.path)
    except InputError:
        return None
    if made_for != task_class.name:
        return None
    return directory.labels if task_class.has_labels else []


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _save(config: FinetuneConfig, task: Task, source: Source, model: Model, workdir: str) -> None:
    told = task.told()
    if config.tuning.method == "adapters":
        told["adapter_size"] = config.tuning.adapter_size
    kept: dict[str, Any] = {
        "max_seq_length": config.data.max_seq_length,
        "labels": (task.labels if task.has_labels else None)
        or (["LABEL_0"] if task.problem_type == "regression" else None),
        "problem_type": task.problem_type,
        "task_settings": told,
    }
    if config.tuning.method != "full":
        path = os.path.join(workdir, "adapter")
        settings = {"architecture": architecture_of(model), **kept}
        adapters.save(path, model, config.tuning, base=config.init_from, settings=settings)
    pooling = None
    if config.task == "embedding" and config.tuning.method != "adapters":  # it would be opened without them
        pooling = Pooling(task.settings.pooling, task.settings.normalize, task.settings.prompt)
    huggingface.save(
        os.path.join(workdir, "model"),
        model,
        vocabulary=source.vocabulary,
        tokenizer=source.tokenizer,
        pooling=pooling,
        **kept,
    )
