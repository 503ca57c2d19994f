"""Pictures of runs: curves of their metrics, and confusions of classes."""

import os
from collections.abc import Sequence

from bert_tf.core import whole_file
from bert_tf.core.errors import InputError
from bert_tf.core.metrics_file import read_metrics

# Title, and the metrics that may stand under it: the first that steps or evaluations of a run have.
_PANELS = (
    ("loss", ("masked_lm_loss", "classification_loss", "loss")),
    ("accuracy", ("masked_lm_accuracy", "f1", "spearman", "recall_at_1", "accuracy")),
    ("learning rate", ("learning_rate",)),
    ("text tokens a second", ("tokens_per_second",)),
)
_SMOOTHING = 0.1  # share of the run that a training curve is averaged over


def draw(workdirs: list[str], output: str) -> None:
    """Writes a picture with one panel for each kind of curve and one color for each run.

    Raises:
      InputError: a workdir without metrics.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = {}
    for workdir in workdirs:
        if not os.path.exists(os.path.join(workdir, "metrics.jsonl")):
            raise InputError(f"--workdir {workdir}: expected a run. Received a folder without metrics.jsonl.")
        runs[workdir] = read_metrics(workdir)
        if not runs[workdir]:
            raise InputError(
                f"--workdir {workdir}: expected metrics. Received a run that has not logged any metrics yet."
            )
    figure, axes = pyplot.subplots(2, 2, figsize=(12, 8), constrained_layout=True)
    for (title, names), axis in zip(_PANELS, axes.flat, strict=True):
        for number, (workdir, lines) in enumerate(runs.items()):
            color = f"C{number}"
            name, steps, values = _curve(lines, "train", names)
            if steps:
                is_noisy = title in ("loss", "accuracy")
                axis.plot(steps, values, color=color, alpha=0.25 if is_noisy else 1.0, linewidth=0.8)
                axis.plot(steps, _smooth(values) if is_noisy else values, color=color, label=f"{workdir} {name}")
            name, steps, values = _curve(lines, "validation", names)
            if steps:
                axis.plot(steps, values, "o--", color=color, markersize=4, label=f"{workdir} {name}, held out")
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if axis.has_data():
            axis.legend(fontsize=7)
    if os.path.splitext(output)[1] not in (".png", ".svg", ".pdf"):
        raise InputError(f"--output {output}: expected a name that ends in .png, .svg or .pdf.")
    parent = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(parent):
        raise InputError(f"--output {output}: expected a file in a folder that exists. Received: no folder {parent}.")
    figure.savefig(output, dpi=120)
    pyplot.close(figure)


def draw_confusion(counts, labels: list[str], output: str) -> None:
    """Writes a picture of counts, [true class, answered class], each row colored by its shares."""
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(max(4.0, 0.5 * len(labels) + 2.0), 30.0)
    figure, axis = pyplot.subplots(figsize=(size, size), constrained_layout=True)
    axis.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    shown = range(0, len(labels), -(-len(labels) // 60))  # all of them, as long as they can be read
    axis.set_xticks(shown, [labels[i] for i in shown], rotation=90)
    axis.set_yticks(shown, [labels[i] for i in shown])
    axis.set_xlabel("answered")
    axis.set_ylabel("true")
    if len(labels) <= 30:  # more numbers than that cannot be read
        for row, column in np.ndindex(*counts.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=8)
    with whole_file.replacing(output, "wb") as file:
        figure.savefig(file, dpi=120, format="png")
    pyplot.close(figure)


def _curve(lines: list[dict], split: str, names: Sequence[str]) -> tuple[str, list[int], list[float]]:
    """The first of the metrics that lines of a split have, with its steps and values."""
    lines = [line for line in lines if line["split"] == split]
    name = next((name for name in names if any(name in line for line in lines)), "")
    found = [(line["step"], line[name]) for line in lines if name in line]
    return name, [step for step, _ in found], [value for _, value in found]


def _smooth(values: list[float]) -> list[float]:
    """The mean of each value and those before it, as many as make up a tenth of the run."""
    width = max(1, round(len(values) * _SMOOTHING))
    return [sum(values[max(0, i - width + 1) : i + 1]) / min(i + 1, width) for i in range(len(values))]
