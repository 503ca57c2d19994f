"""The words that may stand for each [MASK] of a text: what pretraining learns (Devlin et al. 2018, 3.1)."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_tf.core.config import BertConfig
from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.core.errors import InputError
from bert_tf.objectives.masked_lm import BertForMaskedLM
from bert_tf.tasks.rows_of_files import list_of, read_rows, text_of
from bert_tf.tasks.task import Outputs, Rows, Task, cut_note, pack, softmax
from bert_tf.text.vocabulary import MASK
from bert_tf.text.wordpiece import Tokenizer

TOP = 5  # tokens that are told for each mask


class FillMask(Task):
    """Examples have "text" and perhaps "label", the tokens that stood there, as a list.

    Answers: {"text", "masks": [[{"token", "probability"}, the likeliest five], one a mask]}.
    """

    name = "fill_mask"
    architecture = "BertForMaskedLM"
    metric = "accuracy"
    is_trained = False

    @classmethod
    def read(cls, data: FinetuneDataConfig, path: str, field: str, *, labelled: bool) -> list[dict]:
        """See Task."""
        examples = []
        for place, row in read_rows(path, field):
            example: dict[str, Any] = {"place": place, "text": text_of(row, data.text_field, place)}
            if labelled:
                example["label"] = list_of(row, data.label_field, place)
            examples.append(example)
        return examples

    def rows(self, examples: Sequence[dict], tokenizer: Tokenizer, *, labelled: bool) -> Rows:
        """See Task. extra: "counts", how many masks each example has in its row.

        Raises:
          InputError: a labelled text without [MASK] among the tokens that it is cut to.
        """
        length = self.data.max_seq_length
        arrays, cut = pack(tokenizer, [example["text"] for example in examples], max_seq_length=length)
        is_mask = arrays["input_word_ids"] == tokenizer.vocabulary[MASK]
        counts = is_mask.sum(axis=1)
        for example, count in zip(examples, counts, strict=True):
            if labelled and not count:
                raise InputError(f"{example['place']}: expected {MASK} in the first {length} tokens. Received none.")
        positions = np.zeros((len(examples), max(counts, default=0) or 1), np.int32)
        for row, mask in enumerate(is_mask):
            positions[row, : counts[row]] = np.flatnonzero(mask)
        arrays["masked_lm_positions"] = positions
        return Rows(arrays, {"counts": counts, "tokens": tokenizer.vocabulary.tokens}, cut_note(cut, length))

    def make_model(self, config: BertConfig, **kwargs) -> BertForMaskedLM:
        """See Task."""
        model = BertForMaskedLM(config, **kwargs)
        model.build()
        return model

    def answers(self, examples: Sequence[dict], rows: Rows, outputs: Outputs) -> list[dict]:
        """See Task."""
        tokens, answers = rows.extra["tokens"], []
        for example, count, logits in zip(examples, rows.extra["counts"], outputs["masked_lm_logits"], strict=True):
            masks = []
            for chances in softmax(logits[:count, : len(tokens)]):
                best = np.argsort(-chances, kind="stable")[:TOP]
                masks.append([{"token": tokens[i], "probability": round(float(chances[i]), 6)} for i in best])
            answers.append({"text": example["text"], "masks": masks})
        return answers

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
