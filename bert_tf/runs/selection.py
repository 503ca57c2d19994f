"""Which evaluation of a fine-tuning run is the best one, and which model is kept."""

from collections.abc import Sequence

import numpy as np

from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.core.metrics_file import read_metrics
from bert_tf.models.heads import COMMON
from bert_tf.models.model import Model
from bert_tf.objectives.objective import Objective
from bert_tf.tasks.graph import Rows, TaskGraph, caller, outputs_of
from bert_tf.training.evaluation import Selection
from bert_tf.training.trainer import Trainer


def selection_of(
    config: FinetuneConfig,
    graph: TaskGraph,
    objective: Objective,
    examples: Sequence[dict],
    rows: Rows,
    *,
    keeps_head: bool,
) -> Selection:
    """How evaluations are compared.

    The evaluation before the first step counts only where every weight has been trained before: an untrained head may
    score best by chance, and no one wants its model.

    Args:
      config: of the run.
      graph, examples, rows: the task and what is evaluated.
      objective: what the model learns.
      keeps_head: whether the head is that of init_from.
    """
    metric = config.tuning.metric or graph.task.metric

    def score(outputs: dict[str, np.ndarray]) -> dict[str, float]:
        answers = graph.answers(examples, rows, outputs)
        return {name: value for name, value in graph.task.scores(examples, answers).items() if name != "examples"}

    return Selection(
        metric,
        less_is_better=metric in ("loss", *objective.losses) or metric in graph.task.errors,
        patience=config.tuning.early_stopping,
        counts_start=keeps_head or graph.task.head in COMMON,
        score=score,
    )


def check_metric(
    config: FinetuneConfig, graph: TaskGraph, objective: Objective, model: Model, examples: Sequence[dict]
) -> None:
    """Refuses a metric that evaluations will not have, before anything is kept in the workdir."""
    if config.tuning.metric is None:
        return
    # Two will do, but some metrics are of questions without an answer.
    few = [*examples[:2], *[example for example in examples if example.get("answers") == []][:1]]
    rows = graph.rows(few, labelled=True)
    answers = graph.answers(few, rows, outputs_of(graph.task, caller(model), rows.arrays))
    scores = graph.task.scores(few, answers)
    known = [name for name in ("loss", *objective.metrics, *scores) if name != "examples"]
    if config.tuning.metric not in known:
        raise InputError(f"tuning.metric={config.tuning.metric}: expected one of {', '.join(dict.fromkeys(known))}.")


def keep(config: FinetuneConfig, trainer: Trainer, selection: Selection, workdir: str) -> None:
    """Gives the model the weights that tuning.select names, and says which and how good they are.

    A model that is not better than the one before training is reported by a warning.
    """
    if config.tuning.select == "last":
        return
    metric, step = selection.metric, trainer.restore_best()
    if step is None:
        print(
            f"warning: there is no best checkpoint: every {metric} was NaN, or version 0.1 saved step 0 as the best. "
            "Saving the model of the last step.",
            flush=True,
        )
        return
    lines = [line for line in read_metrics(workdir) if line["split"] == "validation" and metric in line]
    found = {line["step"]: line for line in lines}
    value = f": {metric} {found[step][metric]:.4g}" if step in found else ""
    print(f"saving the model of step {step}, which had the best evaluation{value}", flush=True)
    if step == 0:
        print(
            f"warning: no evaluation was better than that of the model before training, init_from={config.init_from}. "
            "That model is saved: training did not improve it.",
            flush=True,
        )
        return
    if not {0, step} <= set(found) or selection.is_perfect(found[step]):
        return
    if selection.cost(found[step]) >= selection.cost(found[0]):
        start = "the model before training" if selection.counts_start else "the untrained head"
        print(
            f"warning: no evaluation was better than that of {start}, {metric} {found[0][metric]:.4g} at step 0. The "
            "model has not learned the task: try another optimizer.learning_rate or more epochs, and check the labels.",
            flush=True,
        )
