"""A vector for a text, near those of texts that mean the same (Reimers and Gurevych 2019; Henderson et al. 2017)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow as tf

from bert_tf.core.config import FinetuneConfig, HeadConfig
from bert_tf.core.errors import InputError
from bert_tf.core.section import bounded
from bert_tf.models.model import INPUTS
from bert_tf.objectives.supervised import Contrastive, Cosine
from bert_tf.tasks.regression import correlations, number_of
from bert_tf.tasks.shared.rows_of_files import read_examples
from bert_tf.tasks.shared.sections import TextDataConfig, tail_share
from bert_tf.tasks.shared.sequences import packed
from bert_tf.tasks.task import Framed, Task, strings

_RANKS = (1, 5, 10)
_QUERIES_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingHeadConfig(HeadConfig):
    """How a vector is made, and what it learns from."""

    section: ClassVar[str] = "head"
    pooling: Literal["mean", "cls"] = "mean"  # of the tokens' outputs; Reimers and Gurevych 2019
    normalize: bool = True  # to length 1
    prompt: str = ""  # stands before every text, such as "query: "
    loss: Literal["contrastive", "cosine"] = "contrastive"  # pairs that belong together, or scored pairs
    # Contrastive: number of pairs that are compared with each other. Such a group is never split over replicas or
    # microbatches, so a step does not depend on their number. train.global_batch_size is a multiple of it.
    contrastive_group: int = bounded(16, at_least=2)
    similarity_scale: float = bounded(20.0, above=0)  # contrastive: what cosines are multiplied by before the softmax


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(FinetuneConfig):
    """A vector for each text."""

    task: Literal["embedding"] = "embedding"
    data: TextDataConfig = TextDataConfig()
    head: EmbeddingHeadConfig = EmbeddingHeadConfig()


class Embedding(Task):
    """Examples have "text", in training "second_text" too, and "label", what their cosine should be, if head.loss is
    cosine.

    Answers: {"text", "embedding": [float, ...]}, of pairs "second_embedding" too.
    """

    name = "embedding"
    config_class = EmbeddingConfig
    head = "embedding"
    signature = "embed"
    long_texts = ("truncate", "head_tail")

    @property
    def metric(self) -> str:  # type: ignore[override]  # what other classes know, this learns
        """Spearman's correlation of scored pairs; else how often a text finds its second one first."""
        return "spearman" if self.settings.loss == "cosine" else "recall_at_1"

    @classmethod
    def read(cls, data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
        """See Task. A label column is kept where there is one, for head.loss=cosine."""
        second = data.second_text_field
        if labelled and second is None:
            raise InputError(
                "data.second_text_field: expected the column of the texts that belong to those of data.text_field. "
                "Received none."
            )
        columns = {"text": data.text_field, "second_text": second if labelled else None}

        def label(row: dict, place: str) -> dict:
            has_label = labelled and row.get(data.label_field) is not None
            return {"label": row[data.label_field]} if has_label else {}

        return read_examples(path, field, columns, label)

    def sample(self, text: str) -> dict:
        return {"place": "sample", "text": text, "second_text": text, "label": 0.5}

    def inputs(self) -> dict[str, str]:
        """See Task; a pair is asked for one text after the other."""
        return {"text": "a text"}

    def kind_of(self, example: dict) -> str:
        return "pair" if "second_text" in example else "text"

    def columns(self, examples):
        """See Task: pairs have "second_text" too."""
        names = ("text", "second_text") if "second_text" in examples[0] else ("text",)
        return {name: strings(example[name] for example in examples) for name in names}

    def frame(self, tokenizer, columns, *, fixed_length, most_rows):
        """See Task. Rows of pairs are [examples, 2, length]."""
        length = self.data.max_seq_length
        texts = [columns[name] for name in ("text", "second_text") if name in columns]
        if self.settings.prompt:
            texts = [tf.strings.join([self.settings.prompt, column]) for column in texts]
        tail = tail_share(self.data)
        parts = [packed(tokenizer, [column], length, fixed_length=fixed_length, tail_share=tail) for column in texts]
        if len(parts) == 1:
            return parts[0]
        rows = {name: tf.stack([part.rows[name] for part in parts], axis=1) for name in INPUTS}
        return Framed(rows, {name: tf.stack([part.layout[name] for part in parts], axis=1) for name in parts[0].layout})

    def decode(self, tokenizer, outputs, layout, columns):
        return {"embedding": outputs["embedding"]}

    def outputs(self) -> dict[str, str]:
        return {"embedding": "[batch, width] the text's vector"}

    def answer(self, example, found):
        vectors = found["embedding"]
        answer = {"text": example["text"], "embedding": np.atleast_2d(vectors)[0].tolist()}
        if vectors.ndim == 2:
            answer |= {"second_text": example["second_text"], "second_embedding": vectors[1].tolist()}
        return answer

    def label_arrays(self, examples, layout):
        arrays = {"label_weights": np.ones(len(examples), np.float32)}
        if self.settings.loss == "cosine":
            arrays["label_values"] = np.array([self._cosine(example) for example in examples], np.float32)
        return arrays, {}

    def objective(self) -> Cosine | Contrastive:
        if self.settings.loss == "cosine":
            return Cosine()
        return Contrastive(group=self.settings.contrastive_group, scale=self.settings.similarity_scale)

    def head_settings(self, dropout: float) -> dict:
        return {"pooling": self.settings.pooling, "normalize": self.settings.normalize}

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

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Correlations of the cosines with the labels; or, of each text among all second texts, how often its own is
        among the first so many, and the mean of one over its rank."""
        first, second = (_unit([answer[name] for answer in answers]) for name in ("embedding", "second_embedding"))
        if self.settings.loss == "cosine":
            cosines = (first * second).sum(axis=1)
            return {"examples": len(answers), **correlations([self._cosine(e) for e in examples], cosines)}
        ranks = _ranks(first, second, [example["second_text"] for example in examples])
        recalls = {f"recall_at_{k}": float((ranks <= k).mean()) for k in _RANKS}
        return {"examples": len(answers), **recalls, "mean_reciprocal_rank": float((1.0 / ranks).mean())}

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """Recall of chance; correlations have none."""
        if self.settings.loss == "cosine":
            return {}
        return {"chance_baseline_recall_at_1": 1.0 / len({example["second_text"] for example in examples})}

    def group(self) -> int:
        """See Task: the pairs that are told apart from one another."""
        return self.settings.contrastive_group if self.settings.loss == "contrastive" else 1


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
