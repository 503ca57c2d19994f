"""A number for a text or a pair: similarity (STS-B), rating."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.objectives.supervised import SquaredError
from bert_tf.tasks.shared.rows_of_files import text_of
from bert_tf.tasks.shared.sections import TextDataConfig
from bert_tf.tasks.shared.sequences import WINDOWS, SequenceTask, asked


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegressionConfig(FinetuneConfig):
    """A number for each text."""

    task: Literal["regression"] = "regression"
    data: TextDataConfig = TextDataConfig()


class Regression(SequenceTask):
    """Examples have "label" as a number. Answers: {"text", "value": float}."""

    name = "regression"
    config_class = RegressionConfig
    problem_type = "regression"
    long_texts = WINDOWS
    metric = "spearman"
    errors = frozenset(("mean_squared_error",))
    method = "regress"

    @classmethod
    def read_label(cls, row: dict, data: Any, place: str) -> float:
        """A finite number."""
        return number_of(row, data.label_field, place)

    def sample_label(self) -> float:
        return 0.5

    def targets(self, examples: Sequence[dict]) -> dict[str, np.ndarray]:
        """label_values float32 [examples, 1]."""
        return {"label_values": np.array([[example["label"]] for example in examples], np.float32)}

    def objective(self) -> SquaredError:
        return SquaredError("regression_loss", pooling=self.pooling())

    def head_settings(self, dropout: float) -> dict:
        return {"units": 1, "dropout": dropout}

    def decode(self, tokenizer, outputs, layout, columns):
        return {"value": self.logits(outputs, layout)[:, 0]}

    def outputs(self) -> dict[str, str]:
        return {"value": "[batch] the number"}

    def answer(self, example, found):
        return {**asked(example), "value": float(found["value"])}

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Pearson's and Spearman's correlation, 0 where the answers are all alike, and the mean squared error."""
        truth, found = [e["label"] for e in examples], [a["value"] for a in answers]
        error = float(np.mean(np.square(np.subtract(truth, found))))
        return {"examples": len(truth), **correlations(truth, found), "mean_squared_error": error}

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """The mean squared error of training's mean."""
        mean = np.mean([example["label"] for example in training])
        return {"mean_baseline_squared_error": float(np.mean([(example["label"] - mean) ** 2 for example in examples]))}


def correlations(truth: Sequence[float], found: Sequence[float]) -> dict[str, float]:
    """Pearson's and Spearman's, 0 where one side does not vary and they are not defined."""
    if len(truth) < 2 or np.ptp(truth) == 0 or np.ptp(found) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": float(stats.pearsonr(truth, found).statistic),
        "spearman": float(stats.spearmanr(truth, found).statistic),
    }


def number_of(row: dict, column: str, place: str) -> float:
    """A value as a finite number.

    Raises:
      InputError: it is none.
    """
    text = text_of(row, column, place)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{place}: {column}: expected a number. Received: {text!r}.")
    return value
