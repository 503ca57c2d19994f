"""One fine-tuning run: data, model, training, the model directory, scores. bert_tf.finetune is its command."""

import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from bert_tf.core import config_io, whole_file
from bert_tf.core.config_finetune import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import adapters, huggingface
from bert_tf.interop.source import Source, open_source
from bert_tf.interop.weights import weight_names
from bert_tf.models import tuning
from bert_tf.runs import evaluation
from bert_tf.tasks import TASKS, name_for, task_named
from bert_tf.tasks.task import Rows, Task, caller, outputs_of
from bert_tf.text.wordpiece import Tokenizer
from bert_tf.training.data import example_input
from bert_tf.training.data.batches import Batches
from bert_tf.training.engines import strategy
from bert_tf.training.evaluator import Selection
from bert_tf.training.trainer import Trainer
from bert_tf.training.workdir import lock as workdir_lock
from bert_tf.training.workdir.mirror import Mirror

_HEADS = tuple(f"{name}.{part}" for name in ("classifier", "qa_outputs") for part in ("weight", "bias"))


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
    task_class = task_named(config.task)
    if not task_class.is_trained:
        trained = ", ".join(name for name in TASKS if task_named(name).is_trained)
        raise InputError(f"task={config.task}: it is learned by bert_tf.pretrain. Expected one of {trained}.")
    tuned = config.tuning
    if tuned.frozen_layers and tuned.method != "full":
        raise InputError(
            f"tuning.frozen_layers={tuned.frozen_layers}: expected 0 with tuning.method={tuned.method}, which freezes "
            "every layer."
        )
    worker = strategy.this_worker(config.train.strategy)
    mirror = Mirror(workdir, config.train.mirror if worker.is_chief else "")
    config_io.check_settled(config, workdir)
    huggingface.check_output(os.path.join(workdir, "model"), "--workdir")
    mirror.fetch(config)
    distribution = strategy.create(config.train.strategy)
    source = open_source(config.init_from, "init_from")
    if config.data.max_seq_length > source.config.max_position_embeddings:
        raise InputError(
            f"data.max_seq_length={config.data.max_seq_length}: expected at most the "
            f"{source.config.max_position_embeddings} positions of init_from={config.init_from}."
        )
    if examples is None:
        examples = evaluation.read_examples(config)
    labels = task_class.learn_labels(examples["train"], config.data, f"data.train={config.data.train}")
    known = _labels_of_same_head(source, task_class)
    if config.data.labels is None and known is not None and sorted(known) == sorted(labels):
        labels = known  # in the order that the source's head has them
    task = task_class(labels=labels, data=config.data, head=config.head)
    task.check_labels(examples["validation"])
    tokenizer = Tokenizer(source.vocabulary, **dataclasses.asdict(source.tokenizer))
    looked_at = {**examples, "validation": examples["validation"][: config.train.evaluate_examples]}
    rows = {split: task.rows(looked_at[split], tokenizer, labelled=True) for split in evaluation.SPLITS}
    if worker.is_chief:
        for split in evaluation.SPLITS:
            _tell(split, getattr(config.data, split), examples[split], rows[split])
    _check_segments(source, rows)
    config = _resolved(config, len(next(iter(rows["train"].arrays.values()))))
    _check_groups(config, task, distribution.num_replicas_in_sync)
    training_arrays = _weighed(config, rows["train"].arrays)
    identity = {
        "labels": labels,
        "vocabulary_sha256": source.vocabulary.sha256,
        # A resumed run reads what it does not learn from there again.
        "init_from_digest": source.digest(),
        "data_digest": _digest(training_arrays),
        # The best evaluation so far is one of these examples.
        "validation_digest": _digest(rows["validation"].arrays),
    }
    _settle_identity(workdir, identity, write=False)
    trainer = Trainer(
        functools.partial(_make_model, config, task, source, keeps_head=known is not None and labels == known),
        train=config.train,
        optimizer_config=config.optimizer,
        strategy=distribution,
        workdir=workdir,
        worker=worker,
        rate_shares=functools.partial(tuning.rate_shares, decay=config.tuning.layer_decay),
        selection=_selection(config, task, looked_at["validation"], rows["validation"]),
        on_checkpoint=mirror.try_push,
    )
    _check_metric(config, task, trainer.model, looked_at["validation"], tokenizer)
    batch_size = config.train.global_batch_size
    with workdir_lock.held(workdir, worker.is_chief):
        if worker.is_chief:
            config_io.settle(config, workdir)
            _settle_identity(workdir, identity, write=True)
        metrics = trainer.fit(
            Batches(
                training=functools.partial(
                    example_input.training_batches,
                    training_arrays,
                    global_batch_size=batch_size,
                    seed=config.train.seed,
                ),
                validation=functools.partial(
                    example_input.validation_batches, rows["validation"].arrays, global_batch_size=batch_size
                ),
                sources=lambda first, count: f"data.train={config.data.train}",
            )
        )
        if not worker.is_chief:
            return metrics
        if config.tuning.select == "best":
            step = trainer.restore_best()
            print(f"the model is that of step {step}, whose evaluation was the best", flush=True)
        _save(config, task, source, trainer.model, workdir)
        scores = evaluation.run(workdir, examples)
        mirror.push()
    return scores


def _tell(split: str, path: str, examples: Sequence[dict], rows: Rows) -> None:
    notes = "".join(f"; {count} {note}" for note, count in rows.notes.items())
    count = len(next(iter(rows.arrays.values())))
    print(f"data.{split}={path}: {len(examples)} examples, {count} rows{notes}", flush=True)


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


def _check_segments(source: Source, rows: dict[str, Rows]) -> None:
    segments = 1 + max(int(part.arrays["input_type_ids"].max(initial=0)) for part in rows.values())
    if segments > source.config.type_vocab_size:
        raise InputError(
            f"init_from={source.path}: expected a model for pairs of texts, with type_vocab_size {segments}. Received "
            f"one with {source.config.type_vocab_size}."
        )


def _check_groups(config: FinetuneConfig, task: Task, replicas: int) -> None:
    rows = config.train.global_batch_size // (replicas * config.train.microbatches)
    if rows % task.group():
        raise InputError(
            f"head.contrastive_group={task.group()}: expected a divisor of the rows of a replica and microbatch, "
            f"{config.train.global_batch_size} / ({replicas} x {config.train.microbatches})."
        )


def _make_model(config: FinetuneConfig, task: Task, source: Source, *, keeps_head: bool) -> keras.Model:
    settings = config.tuning
    more = {"adapter_size": settings.adapter_size} if settings.method == "adapters" else {}
    if task.architecture == "BertModel" and source.directory is not None:
        more["with_pooler"] = source.directory.has_weight("bert.pooler.dense.weight")
    dtype = config.train.precision
    model = task.make_model(source.config, dropout=config.classifier_dropout, dtype=dtype, **more)
    # A head of other labels is no start, even where it has as many.
    report = source.load_weights(model, () if keeps_head else _HEADS)
    # A pooler that was not there has to learn.
    tuning.prepare(
        model, settings, learning=tuple(v for name, v, _ in weight_names(model) if source.is_fresh(name, report))
    )
    learning, every = tuning.trained_share(model)
    print(f"init_from={config.init_from}: {report}", flush=True)
    print(f"{learning:,} of {every:,} weights learn ({learning / every:.2%})", flush=True)
    if not learning:
        raise InputError(
            f"tuning.frozen_layers={settings.frozen_layers}: expected a weight that learns. Received none."
        )
    return model


def _labels_of_same_head(source: Source, task_class: type[Task]) -> list[str] | None:
    """The labels of the source's head if it is one of this task, [] for heads without labels; None for another head."""
    directory = source.directory
    if directory is None:
        return None
    try:
        made_for = directory.task_settings.get("task") or name_for(
            directory.architecture, directory.settings, source.path
        )
    except InputError:
        return None
    if made_for != task_class.name:
        return None
    return directory.labels if task_class.has_labels else []


def _check_metric(
    config: FinetuneConfig, task: Task, model: keras.Model, examples: Sequence[dict], tokenizer: Tokenizer
) -> None:
    """Refuses a metric that evaluations will not have, before anything is kept in the workdir."""
    if config.tuning.metric is None:
        return
    # Two will do, but some metrics are of questions without an answer.
    few = [*examples[:2], *[example for example in examples if example.get("answers") == []][:1]]
    rows = task.rows(few, tokenizer, labelled=True)
    answers = task.answers(few, rows, outputs_of(caller(model), rows.arrays))
    known = [name for name in ("loss", *model.metric_names, *task.scores(few, answers)) if name != "examples"]
    if config.tuning.metric not in known:
        raise InputError(f"tuning.metric={config.tuning.metric}: expected one of {', '.join(dict.fromkeys(known))}.")


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _selection(config: FinetuneConfig, task: Task, examples: Sequence[dict], rows: Rows) -> Selection:
    metric = config.tuning.metric or task.metric
    count = len(next(iter(rows.arrays.values())))

    def score(outputs: dict[str, np.ndarray]) -> dict[str, float]:
        answers = task.answers(examples, rows, {name: x[:count] for name, x in outputs.items()})
        return {name: value for name, value in task.scores(examples, answers).items() if name != "examples"}

    return Selection(metric, config.tuning.early_stopping, score)


def _weighed(config: FinetuneConfig, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Training's arrays with the weights of classes and the smoothing of labels."""
    settings = config.tuning
    if settings.class_weights == "equal" and not settings.label_smoothing:
        return arrays
    if config.task not in ("classification", "token_classification"):
        raise InputError(
            f"task={config.task}: expected classification or token_classification for tuning.class_weights and "
            "tuning.label_smoothing."
        )
    arrays = dict(arrays)
    if settings.class_weights == "balanced":
        ids, weights = arrays["label_ids"], arrays["label_weights"]
        counts = np.bincount(ids.ravel(), weights.ravel())
        # n / (classes x examples of the class), so that the weights' sum stays what it was.
        share = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1.0))
        arrays["label_weights"] = (weights * share[ids]).astype(np.float32)
    if settings.label_smoothing:
        arrays["label_smoothing"] = np.full(len(arrays["label_ids"]), settings.label_smoothing, np.float32)
    return arrays


def _save(config: FinetuneConfig, task: Task, source: Source, model: keras.Model, workdir: str) -> None:
    settings = task.settings()
    if config.tuning.method == "adapters":
        settings["adapter_size"] = config.tuning.adapter_size
    told: dict[str, Any] = {
        "architecture": task.architecture,
        "max_seq_length": config.data.max_seq_length,
        "labels": task.labels or (["LABEL_0"] if task.problem_type == "regression" else None),
        "problem_type": task.problem_type,
        "task_settings": settings,
    }
    if config.tuning.method != "full":
        path = os.path.join(workdir, "adapter")
        adapters.save(path, model, config.tuning, base=config.init_from, settings=told)
    huggingface.save(
        os.path.join(workdir, "model"),
        model,
        vocabulary=source.vocabulary,
        tokenizer=source.tokenizer,
        # With adapters it would be opened without them.
        embedding=config.head if config.task == "embedding" and config.tuning.method != "adapters" else None,
        **told,
    )


def _settle_identity(workdir: str, identity: dict, *, write: bool) -> None:
    """Keeps what the head's weights mean in the workdir; a resumed run that means something else is refused."""
    path = os.path.join(workdir, "labels.json")
    if os.path.exists(path):
        there = config_io.read_json(path)
        for name, value in identity.items():
            if there.get(name, value) != value:  # a run of an older version kept less
                raise InputError(
                    f"--workdir {workdir}: expected the {name} that its run began with, {there.get(name)}. "
                    f"Received: {value}."
                )
    elif write:
        whole_file.write_json(path, identity)
