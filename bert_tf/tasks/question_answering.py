"""The span of a context that answers a question: SQuAD 1.1 and 2.0 (Devlin et al. 2018, 4.2 and 4.3)."""

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.objectives.supervised import Spans
from bert_tf.tasks.shared import cmrc_scores, squad_scores
from bert_tf.tasks.shared.answers import (
    AnswerDataConfig,
    AnswerHeadConfig,
    best_answers,
    frame_questions,
    longest_question,
)
from bert_tf.tasks.shared.graph_rows import MAX_ROWS_OF_A_TEXT
from bert_tf.tasks.shared.rows_of_files import read_lines, read_rows, text_of
from bert_tf.tasks.task import Task, strings
from bert_tf.tasks.task import text as text_from

_SENTENCE_END = re.compile(r"\. |。")
_SHORTEST = 5  # tokens of a row with a question and a context


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionAnsweringConfig(FinetuneConfig):
    """Spans that answer questions."""

    task: Literal["question_answering"] = "question_answering"
    data: AnswerDataConfig = AnswerDataConfig()
    head: AnswerHeadConfig = AnswerHeadConfig()


class QuestionAnswering(Task):
    """Examples have "id", "text" (the question), "context", and "answers", [{"text", "start"}], start in characters.

    A question without answers has none in its context, which takes head.no_answer_threshold.

    Answers: {"id", "text", "answer", "start", "end", "probability", "no_answer_score", "n_best"}; start and end in
    characters of the context; no_answer_score: by how much no answer scores better than the best span.
    """

    name = "question_answering"
    config_class = QuestionAnsweringConfig
    head = "spans"
    metric = "f1"
    takes_texts = False
    has_windows = True
    signature = "answer"
    too_long = (
        "question: truncated at max_query_length tokens; context: continues in further windows, doc_stride tokens "
        f"apart, {MAX_ROWS_OF_A_TEXT} at most"
    )

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if self.data.max_seq_length < _SHORTEST:
            raise InputError(
                f"data.max_seq_length: expected at least {_SHORTEST}, for a question and a context. Received: "
                f"{self.data.max_seq_length}."
            )

    @classmethod
    def read(cls, data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
        """SQuAD's .json, or rows with "question", "context", "answers" {"text": [...], "answer_start": [...]} and
        perhaps "id"."""
        if path.endswith(".json"):
            examples = read_lines(path, field, {".json": lambda file, path: _squad(file, path, labelled)})
            if not examples:
                raise InputError(f"{field}={path}: expected at least one question. Received none.")
            return examples
        examples = []
        for place, row in read_rows(path, field):
            example: dict[str, Any] = {
                "place": place,
                "id": str(row.get("id", place)),
                "text": text_of(row, "question", place),
                "context": text_of(row, "context", place),
            }
            if labelled:
                example["answers"] = _answers_of(row.get("answers"), place)
            examples.append(example)
        return examples

    def sample(self, text: str) -> dict:
        answers = [{"text": text[:1], "start": 0}]
        return {"place": "sample", "id": "0", "text": text, "context": text, "answers": answers}

    @property
    def segments(self) -> int:
        return 2

    def inputs(self) -> dict[str, str]:
        return {"question": "a question", "context": "where its answer is sought"}

    def counts(self) -> dict[str, str]:
        return {
            name: "n_best_count" for name in self.outputs() if name.startswith("n_best_") and name != "n_best_count"
        }

    def columns(self, examples):
        return {
            "question": strings(example["text"] for example in examples),
            "context": strings(example["context"] for example in examples),
        }

    def frame(self, tokenizer, columns, *, fixed_length, most_rows):
        texts = columns["question"], columns["context"]
        return frame_questions(tokenizer, self.data, *texts, fixed_length=fixed_length, most_rows=most_rows)

    def token_outputs(self) -> dict[str, list]:
        return {"start_logits": [None], "end_logits": [None]}

    def decode(self, tokenizer, outputs, layout, columns):
        return best_answers(outputs, layout, columns["context"], self.settings)

    def outputs(self) -> dict[str, str]:
        return {
            "answer": "[batch] the best span, '' for no answer",
            "start": "[batch] character of the context where it begins",
            "end": "[batch] character behind it",
            "probability": "[batch] among n_best",
            "no_answer_score": "[batch] by how much no answer scores better than the best span",
            "n_best_answers": "[batch, n] different spans, best first; '' for no answer, and behind n_best_count",
            "n_best_starts": "[batch, n]",
            "n_best_ends": "[batch, n]",
            "n_best_scores": "[batch, n]",
            "n_best_probabilities": "[batch, n]",
            "n_best_count": "[batch]",
        }

    def answer(self, example, found):
        columns = ("answers", "starts", "ends", "scores", "probabilities")
        rows = zip(*(found[f"n_best_{name}"][: int(found["n_best_count"])] for name in columns), strict=True)
        return {
            "id": example["id"],
            "text": example["text"],
            "answer": text_from(found["answer"]),
            "start": int(found["start"]),
            "end": int(found["end"]),
            "probability": round(float(found["probability"]), 6),
            "no_answer_score": round(float(found["no_answer_score"]), 6),
            "n_best": [
                {
                    "text": text_from(text),
                    "start": int(start),
                    "end": int(end),
                    "score": round(float(score), 6),
                    "probability": round(float(probability), 6),
                }
                for text, start, end, score, probability in rows
            ],
        }

    def label_arrays(self, examples, layout):
        """Positions of the first answer in each window; 0, [CLS], where it does not lie whole in it."""
        spans, misplaced = self._spans(examples)
        of_row = np.repeat(np.arange(len(examples)), layout["counts"])
        begin, end = spans[of_row].T[..., None]
        is_context = layout["is_context"]
        begins, ends = (np.append(layout[name], 0)[layout["token"]] for name in ("begins", "ends"))
        # The first token that ends behind the span's beginning, and the last that begins before its end.
        first = (is_context & (ends > begin)).argmax(axis=1)
        last = is_context.shape[1] - 1 - (is_context & (begins < end))[:, ::-1].argmax(axis=1)
        lowest = np.where(is_context, begins, np.iinfo(np.int64).max).min(axis=1)
        highest = np.where(is_context, ends, -1).max(axis=1)
        is_whole = (begin[:, 0] >= 0) & (lowest <= begin[:, 0]) & (highest >= end[:, 0]) & (first <= last)
        has_whole = np.bincount(of_row, is_whole, len(examples)) > 0
        split = (spans[:, 0] >= 0) & ~has_whole
        # Nobody can learn an answer that is not where the file says, or that no window holds whole.
        labels = {
            "start_positions": np.where(is_whole, first, 0).astype(np.int32),
            "end_positions": np.where(is_whole, last, 0).astype(np.int32),
            "label_weights": (~(misplaced | split))[of_row].astype(np.float32),
        }
        return labels, {
            "skipped: the answer is not at its position in the context": int(misplaced.sum()),
            "skipped: no window holds the whole answer": int(split.sum()),
        }

    def _spans(self, examples: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
        """Bytes of the first answer of each example, int64 [examples, 2], -1 for none; and whether it is misplaced."""
        spans, misplaced = np.full((len(examples), 2), -1, np.int64), np.zeros(len(examples), bool)
        for number, example in enumerate(examples):
            if not example["answers"]:
                if self.settings.no_answer_threshold is None:
                    raise InputError(
                        f"{example['place']}: expected an answer. Received a question without one, which takes "
                        "head.no_answer_threshold, such as 0."
                    )
                continue
            answer, context = example["answers"][0], example["context"]
            start, end = answer["start"], answer["start"] + len(answer["text"])
            misplaced[number] = start < 0 or context[start:end] != answer["text"]
            if not misplaced[number]:
                begin = len(context[:start].encode())
                spans[number] = begin, begin + len(answer["text"].encode())
        return spans, misplaced

    def notes(self, layout) -> dict[str, int]:
        longest = longest_question(self.data)
        return {
            "with a context of several windows": int((layout["counts"] > 1).sum()),
            f"with a question truncated to {longest} tokens": int((layout["question_tokens"] > longest).sum()),
        }

    def objective(self) -> Spans:
        return Spans()

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """See squad_scores.scores; by head.scoring."""
        truth = [[answer["text"] for answer in example["answers"]] for example in examples]
        found = [answer["answer"] for answer in answers]
        rules = self._rules()
        scores = squad_scores.scores(truth, found, rules)
        if self.settings.no_answer_threshold is not None:
            spans = [next((c["text"] for c in a["n_best"] if c["text"]), "") for a in answers]
            nothing = [answer["no_answer_score"] for answer in answers]
            scores |= squad_scores.best_threshold(truth, spans, nothing, rules)
        return scores

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """F1 of answering with the context's first sentence, or, if that may be, with nothing."""
        truth = [[answer["text"] for answer in example["answers"]] for example in examples]
        sentences, rules = [_SENTENCE_END.split(example["context"])[0] for example in examples], self._rules()
        found = {"first_sentence_baseline_f1": squad_scores.scores(truth, sentences, rules)["f1"]}
        if self.settings.no_answer_threshold is not None:
            found["no_answer_baseline_f1"] = squad_scores.scores(truth, [""] * len(truth), rules)["f1"]
        return found

    def _rules(self) -> squad_scores.Rules:
        return {"squad": squad_scores.SQUAD, "cmrc2018": cmrc_scores.CMRC2018}[self.settings.scoring]


def _answers_of(answers, place: str) -> list[dict]:
    """[{"text", "start"}] of {"text": [...], "answer_start": [...]}, or of a list of {"text", "answer_start"}."""
    if isinstance(answers, list):
        answers = {key: [a.get(key) for a in answers if isinstance(a, dict)] for key in ("text", "answer_start")}
    texts, starts = (
        (answers.get(key) for key in ("text", "answer_start")) if isinstance(answers, dict) else (None, None)
    )
    if (
        not isinstance(texts, list)
        or not isinstance(starts, list)
        or len(texts) != len(starts)
        or not all(isinstance(text, str) for text in texts)
        or not all(isinstance(start, int) for start in starts)
    ):
        raise InputError(
            f'{place}: answers: expected {{"text": [...], "answer_start": [...]}}, as many starts as texts. '
            f"Received: {str(answers)[:80]}."
        )
    return [{"text": text, "start": start} for text, start in zip(texts, starts, strict=True)]


def _squad(file, path: str, labelled: bool) -> Iterator[dict]:
    try:
        articles = json.load(file)["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    place = f"{path}: question {question['id']}"
                    example: dict[str, Any] = {
                        "place": place,
                        "id": str(question["id"]),
                        "text": text_of(question, "question", place),
                        "context": text_of(paragraph, "context", place),
                    }
                    if labelled:
                        example["answers"] = _answers_of(question.get("answers"), place)
                    yield example
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: expected JSON. Received: {error}.") from None
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected SQuAD's layout, data, paragraphs, qas. Received none of {error}.") from None
