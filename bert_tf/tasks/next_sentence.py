"""Whether a text follows another: what pretraining learns beside words (Devlin et al. 2018, 3.1)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from sklearn import metrics

from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.tasks.shared.rows_of_files import read_examples, text_of
from bert_tf.tasks.shared.sections import TextDataConfig
from bert_tf.tasks.shared.sequences import TextTask, asked
from bert_tf.tasks.task import text as text_from

LABELS = ("next", "random")  # 0 and 1, as in google-research/bert


@dataclasses.dataclass(frozen=True, kw_only=True)
class NextSentenceConfig(FinetuneConfig):
    """Whether a text follows another."""

    task: Literal["next_sentence"] = "next_sentence"
    data: TextDataConfig = TextDataConfig(second_text_field="second_text")


class NextSentence(TextTask):
    """Examples have "text" and "second_text", and perhaps "label", next or random.

    Answers: {"text", "second_text", "label", "probability"}, the probability that it is the next.
    """

    name = "next_sentence"
    config_class = NextSentenceConfig
    head = "pair"
    metric = "accuracy"
    takes_texts = False
    is_trained = False

    @classmethod
    def read(cls, data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
        """See Task. The second text's column is "second_text" unless data.second_text_field says otherwise."""

        def label(row: dict, place: str) -> dict:
            found = text_of(row, data.label_field, place) if labelled else LABELS[0]
            if found not in LABELS:
                raise InputError(f"{place}: expected {' or '.join(LABELS)}. Received: {found!r}.")
            return {"label": found} if labelled else {}

        columns = {"text": data.text_field, "second_text": data.second_text_field or "second_text"}
        return read_examples(path, field, columns, label)

    def sample(self, text: str) -> dict:
        return {"place": "sample", "text": text, "second_text": text, "label": LABELS[0]}

    def inputs(self) -> dict[str, str]:
        return {"text": "a text", "second_text": "the text that may follow it"}

    def decode(self, tokenizer, outputs, layout, columns):
        logits = outputs["next_sentence_logits"]
        return {
            "label": tf.gather(tf.constant(LABELS), tf.argmax(logits, axis=-1)),
            "probability": tf.nn.softmax(logits)[:, 0],
        }

    def outputs(self) -> dict[str, str]:
        return {"label": f"[batch] {' or '.join(LABELS)}", "probability": "[batch] that second_text follows"}

    def answer(self, example, found):
        return {
            **asked(example),
            "label": text_from(found["label"]),
            "probability": round(float(found["probability"]), 6),
        }

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Accuracy."""
        truth, found = [e["label"] for e in examples], [a["label"] for a in answers]
        return {"examples": len(truth), "accuracy": float(metrics.accuracy_score(truth, found))}

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """The accuracy of the commoner label."""
        share = float(np.mean([example["label"] == LABELS[0] for example in examples]))
        return {"majority_baseline": max(share, 1.0 - share)}
