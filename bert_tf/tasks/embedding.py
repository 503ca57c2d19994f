"""A vector for a text, near those of texts that mean the same (Reimers and Gurevych 2019; Henderson et al. 2017)."""

from collections.abc import Sequence

import numpy as np

from bert_tf.core.config import BertConfig
from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.core.errors import InputError
from bert_tf.models.heads import BertForEmbedding
from bert_tf.tasks.regression import correlations, number_of
from bert_tf.tasks.rows_of_files import read_rows, text_of
from bert_tf.tasks.task import INPUTS, Outputs, Rows, Task, cut_note, pack
from bert_tf.text.wordpiece import Tokenizer

_RANKS = (1, 5, 10)
_QUERIES_AT_ONCE = 1024


class Embedding(Task):
    """Examples have "text", in training "second_text" too, and "label", what their cosine should be, if head.loss is
    cosine.

    Answers: {"text", "embedding": [float, ...]}, of pairs "second_embedding" too.
    """

    name = "embedding"
    architecture = "BertModel"

    @property
    def metric(self) -> str:  # type: ignore[override]  # what other classes know, this learns
        """Spearman's correlation of scored pairs; else how often a text finds its second one first."""
        return "spearman" if self.head.loss == "cosine" else "recall_at_1"

    @classmethod
    def read(cls, data: FinetuneDataConfig, path: str, field: str, *, labelled: bool) -> list[dict]:
        """See Task. A label column is kept where there is one, for head.loss=cosine."""
        second = data.second_text_field
        if labelled and second is None:
            raise InputError(
                "data.second_text_field: expected the column of the texts that belong to those of data.text_field. "
                "Received none."
            )
        examples = []
        for place, row in read_rows(path, field):
            example = {"place": place, "text": text_of(row, data.text_field, place)}
            if labelled and second is not None:
                example["second_text"] = text_of(row, second, place)
                if row.get(data.label_field) is not None:
                    example["label"] = row[data.label_field]
            examples.append(example)
        return examples

    def rows(self, examples: Sequence[dict], tokenizer: Tokenizer, *, labelled: bool) -> Rows:
        """See Task. Arrays of pairs are [examples, 2, length]."""
        length = self.data.max_seq_length
        has_pairs = bool(examples) and all("second_text" in example for example in examples)
        names = ("text", "second_text") if has_pairs else ("text",)
        parts = [pack(tokenizer, [example[name] for example in examples], max_seq_length=length) for name in names]
        cut = sum(count for _, count in parts)
        if not has_pairs:
            return Rows(parts[0][0], {}, cut_note(cut, length))
        arrays = {name: np.stack([part[name] for part, _ in parts], axis=1) for name in INPUTS}
        if labelled:
            arrays["label_weights"] = np.ones(len(examples), np.float32)
            if self.head.loss == "cosine":
                arrays["label_values"] = np.array([self._cosine(example) for example in examples], np.float32)
        return Rows(arrays, {}, cut_note(cut, length))

    def _cosine(self, example: dict) -> float:
        """What the cosine of an example's texts should be."""
        column = self.data.label_field
        if "label" not in example:
            raise InputError(
                f"{example['place']}: expected a column {column!r} with what the cosine should be, for "
                "head.loss=cosine. Received none."
            )
        value = number_of({column: example["label"]}, column, example["place"])
        if not -1.0 <= value <= 1.0:
            raise InputError(f"{example['place']}: {column}: expected a cosine, -1 to 1. Received: {value}.")
        return value

    def make_model(self, config: BertConfig, **kwargs) -> BertForEmbedding:
        """See Task."""
        model = BertForEmbedding(
            config,
            pooling=self.head.pooling,
            normalize=self.head.normalize,
            loss=self.head.loss,
            group=self.head.contrastive_group,
            scale=self.head.similarity_scale,
            **kwargs,
        )
        model.build()
        return model

    def answers(self, examples: Sequence[dict], rows: Rows, outputs: Outputs) -> list[dict]:
        """See Task."""
        answers = []
        for example, vectors in zip(examples, outputs["embedding"], strict=True):
            answer = {"text": example["text"], "embedding": np.atleast_2d(vectors)[0].tolist()}
            if vectors.ndim == 2:
                answer |= {"second_text": example["second_text"], "second_embedding": vectors[1].tolist()}
            answers.append(answer)
        return answers

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Correlations of the cosines with the labels; or, of each text among all second texts, how often its own is
        among the first so many, and the mean of one over its rank."""
        first, second = (_unit([answer[name] for answer in answers]) for name in ("embedding", "second_embedding"))
        if self.head.loss == "cosine":
            cosines = (first * second).sum(axis=1)
            return {"examples": len(answers), **correlations([self._cosine(e) for e in examples], cosines)}
        ranks = _ranks(first, second, [example["second_text"] for example in examples])
        recalls = {f"recall_at_{k}": float((ranks <= k).mean()) for k in _RANKS}
        return {"examples": len(answers), **recalls, "mean_reciprocal_rank": float((1.0 / ranks).mean())}

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """Recall of chance; correlations have none."""
        if self.head.loss == "cosine":
            return {}
        return {"chance_baseline_recall_at_1": 1.0 / len({example["second_text"] for example in examples})}

    def group(self) -> int:
        """See Task: the pairs that are told apart from one another."""
        return self.head.contrastive_group if self.head.loss == "contrastive" else 1


def _unit(vectors: Sequence[Sequence[float]]) -> np.ndarray:
    table = np.array(vectors, np.float32)
    return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)


def _ranks(first: np.ndarray, second: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """The rank of each row's own second text among all different ones, 1 for the nearest."""
    unique = {text: index for index, text in reversed(list(enumerate(texts)))}
    own = np.array([unique[text] for text in texts])
    candidates = np.array(sorted(unique.values()))
    ranks = []
    for start in range(0, len(first), _QUERIES_AT_ONCE):
        rows = slice(start, start + _QUERIES_AT_ONCE)
        cosines = first[rows] @ second.T
        own_cosine = np.take_along_axis(cosines, own[rows][:, None], axis=1)
        # The own one counts as 1; where all are equally near, nothing was found.
        ranks.append((cosines[:, candidates] >= own_cosine).sum(axis=1))
    return np.concatenate(ranks)
