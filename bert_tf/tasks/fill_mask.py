"""The words that may stand for each [MASK] of a text: what pretraining learns (Devlin et al. 2018, 3.1)."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.tasks.shared.rows_of_files import list_of, read_examples
from bert_tf.tasks.shared.sections import TextDataConfig
from bert_tf.tasks.shared.sequences import TextTask
from bert_tf.tasks.task import text as text_from
from bert_tf.text.vocabulary import MASK

TOP = 5  # tokens that are given for each mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class FillMaskConfig(FinetuneConfig):
    """Tokens for each [MASK]."""

    task: Literal["fill_mask"] = "fill_mask"
    data: TextDataConfig = TextDataConfig()


class FillMask(TextTask):
    """Examples have "text" and perhaps "label", the tokens that stood there, as a list.

    Answers: {"text", "masks": [[{"token", "probability"}, the likeliest five], one a mask]}.
    """

    name = "fill_mask"
    config_class = FillMaskConfig
    head = "masked_lm"
    metric = "accuracy"
    is_trained = False
    signature = "fill_mask"

    @classmethod
    def read(cls, data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
        def label(row: dict, place: str) -> dict:
            return {"label": list_of(row, data.label_field, place)} if labelled else {}

        return read_examples(path, field, {"text": data.text_field}, label)

    def sample(self, text: str) -> dict:
        return {"place": "sample", "text": f"{MASK} {text}", "label": ["the"]}

    def inputs(self) -> dict[str, str]:
        return {"text": f"a text with {MASK}"}

    def counts(self) -> dict[str, str]:
        return {"tokens": "mask_count", "scores": "mask_count"}

    def row_shapes(self) -> dict[str, list]:
        return {**super().row_shapes(), "masked_lm_positions": [None]}

    def frame(self, tokenizer, columns, *, fixed_length, most_rows):
        """See Task; most_rows: masks of a text."""
        framed = super().frame(tokenizer, columns, fixed_length=fixed_length, most_rows=most_rows)
        is_mask = framed.rows["input_word_ids"] == tokenizer.vocabulary[MASK]
        counts = tf.reduce_sum(tf.cast(is_mask, tf.int32), axis=1)
        places = tf.cast(tf.where(is_mask)[:, 1], tf.int32)
        masks = tf.RaggedTensor.from_row_lengths(places, tf.cast(counts, tf.int64), validate=False)
        positions = masks.to_tensor()[:, :most_rows]
        layout = {**framed.layout, "mask_count": counts if most_rows is None else tf.minimum(counts, most_rows)}
        return framed._replace(rows=framed.rows | {"masked_lm_positions": positions}, layout=layout)

    def decode(self, tokenizer, outputs, layout, columns):
        vocabulary, logits = tokenizer.vocabulary, outputs["masked_lm_logits"]
        chances, ids = tf.math.top_k(tf.nn.softmax(logits[..., : len(vocabulary)]), k=TOP)
        is_real = (tf.range(tf.shape(logits)[1])[None] < layout["mask_count"][:, None])[..., None]
        return {
            "tokens": tf.where(is_real, tf.gather(tf.constant(vocabulary.tokens), ids), ""),
            "scores": tf.where(is_real, chances, 0.0),
            "mask_count": layout["mask_count"],
        }

    def outputs(self) -> dict[str, str]:
        return {
            "tokens": f"[batch, masks, {TOP}] the likeliest for each {MASK}, best first; '' behind mask_count",
            "scores": f"[batch, masks, {TOP}] their probabilities",
            "mask_count": f"[batch] how many {MASK} were looked at",
        }

    def answer(self, example, found):
        masks = [
            [
                {"token": text_from(token), "probability": round(float(score), 6)}
                for token, score in zip(found["tokens"][mask], found["scores"][mask], strict=True)
            ]
            for mask in range(int(found["mask_count"]))
        ]
        return {"text": example["text"], "masks": masks}

    def label_arrays(self, examples, layout):
        """See Task; there is nothing to learn, but a labelled text needs a mask."""
        for example, count in zip(examples, layout["mask_count"], strict=True):
            if not count:
                length = self.data.max_seq_length
                raise InputError(f"{example['place']}: expected {MASK} in the first {length} tokens. Received none.")
        return {}, {}

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """How often the token that stood there is the likeliest one, or among the five."""
        found = [
            [candidate["token"] for candidate in mask].index(label) if label in {c["token"] for c in mask} else TOP
            for example, answer in zip(examples, answers, strict=True)
            for label, mask in zip(example["label"], answer["masks"], strict=False)
        ]
        return {
            "examples": len(examples),
            "masks": len(found),
            "accuracy": float(np.mean([rank == 0 for rank in found])),
            f"recall_at_{TOP}": float(np.mean([rank < TOP for rank in found])),
        }

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """How often the token that stands behind the most masks of training is the one."""
        counts = collections.Counter(token for example in training for token in example["label"])
        commonest = max(sorted(counts), key=counts.__getitem__)
        truth = [token for example in examples for token in example["label"]]
        return {"commonest_token_baseline": float(np.mean([token == commonest for token in truth]))}
