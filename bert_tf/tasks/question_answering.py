"""The span of a context that answers a question: SQuAD 1.1 and 2.0 (Devlin et al. 2018, 4.2 and 4.3)."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bert_tf.core.config import BertConfig
from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.core.errors import InputError
from bert_tf.models.heads import BertForQuestionAnswering
from bert_tf.tasks import squad_scores
from bert_tf.tasks.answer_windows import Window, windows_of
from bert_tf.tasks.rows_of_files import read_lines, read_rows, text_of
from bert_tf.tasks.task import Outputs, Rows, Task, softmax
from bert_tf.text.wordpiece import Tokenizer


class QuestionAnswering(Task):
    """Examples have "id", "text" (the question), "context", and "answers", [{"text", "start"}], start in characters.

    A question without answers has none in its context, which takes head.no_answer_threshold.

    Answers: {"id", "text", "answer", "start", "end", "probability", "no_answer_score", "n_best"}; start and end in
    characters of the context; no_answer_score: by how much no answer scores better than the best span.
    """

    name = "question_answering"
    architecture = "BertForQuestionAnswering"
    metric = "f1"
    takes_texts = False

    @classmethod
    def read(cls, data: FinetuneDataConfig, path: str, field: str, *, labelled: bool) -> list[dict]:
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

    def rows(self, examples: Sequence[dict], tokenizer: Tokenizer, *, labelled: bool) -> Rows:
        """See Task. A long context becomes several windows (rows). extra: "windows", a list of Window."""
        windows, notes = windows_of(examples, tokenizer, self.data)
        length = self.data.max_seq_length
        arrays = {name: np.zeros((len(windows), length), np.int32) for name in ("input_word_ids", "input_mask")}
        arrays["input_type_ids"] = np.zeros((len(windows), length), np.int32)
        for row, window in enumerate(windows):
            arrays["input_word_ids"][row, : len(window.ids)] = window.ids
            arrays["input_mask"][row, : len(window.ids)] = 1
            arrays["input_type_ids"][row, window.offset : len(window.ids)] = 1
        if labelled:
            labels, more = self._labels(examples, windows)
            arrays, notes = arrays | labels, notes | more
        return Rows(arrays, {"windows": windows}, notes)

    def _labels(self, examples: Sequence[dict], windows: Sequence[Window]) -> tuple[dict, dict[str, int]]:
        """Positions of the first answer in each window; 0, [CLS], where it does not lie whole in it."""
        spans: list[tuple[int, int] | None] = []
        lost: set[int] = set()
        for number, example in enumerate(examples):
            if not example["answers"]:
                if self.head.no_answer_threshold is None:
                    raise InputError(
                        f"{example['place']}: expected an answer. Received a question without one, which takes "
                        "head.no_answer_threshold, such as 0."
                    )
                spans.append(None)
                continue
            answer, context = example["answers"][0], example["context"]
            begin, end = answer["start"], answer["start"] + len(answer["text"])
            if begin < 0 or context[begin:end] != answer["text"]:
                lost.add(number)
                spans.append(None)
                continue
            begin = len(context[:begin].encode())
            spans.append((begin, begin + len(answer["text"].encode())))
        positions = np.zeros((len(windows), 2), np.int32)
        whole = set()
        for row, window in enumerate(windows):
            span = spans[window.example]
            if span is not None:
                positions[row] = window.positions_of(*span)
                if positions[row, 0]:
                    whole.add(window.example)
        split = {number for number, span in enumerate(spans) if span is not None} - whole
        # What is answered where the file says the answer is not, or in no one window, nobody can learn.
        left_out = lost | split
        weights = np.array([window.example not in left_out for window in windows], np.float32)
        labels = {"start_positions": positions[:, 0], "end_positions": positions[:, 1], "label_weights": weights}
        notes = {
            "without their answer in the context, left out": len(lost),
            "with an answer that no window holds whole, left out": len(split),
        }
        return labels, {name: count for name, count in notes.items() if count}

    def make_model(self, config: BertConfig, **kwargs) -> BertForQuestionAnswering:
        """See Task."""
        model = BertForQuestionAnswering(config, **kwargs)
        model.build()
        return model

    def answers(self, examples: Sequence[dict], rows: Rows, outputs: Outputs) -> list[dict]:
        """See Task."""
        spans: list[list[tuple]] = [[] for _ in examples]
        nothing = [np.inf] * len(examples)
        for window, starts, ends in zip(
            rows.extra["windows"], outputs["start_logits"], outputs["end_logits"], strict=True
        ):
            nothing[window.example] = min(nothing[window.example], float(starts[0] + ends[0]))
            spans[window.example] += window.best_spans(
                starts, ends, n_best=self.head.n_best_size, max_length=self.head.max_answer_length
            )
        return [self._answer(*parts) for parts in zip(examples, spans, nothing, strict=True)]

    def _answer(self, example: dict, spans: list[tuple], nothing: float) -> dict:
        source = example["context"].encode()
        best: dict[str, dict] = {}
        for score, begin, end in sorted(spans, key=lambda span: (-span[0], *span[1:])):
            text = source[begin:end].decode("utf-8", "ignore")
            if text.strip() and text not in best:
                start = len(source[:begin].decode("utf-8", "ignore"))
                best[text] = {"text": text, "start": start, "end": start + len(text), "score": score}
            if len(best) == self.head.n_best_size:
                break
        threshold = self.head.no_answer_threshold
        candidates = list(best.values())
        if threshold is not None or not candidates:
            candidates.append({"text": "", "start": 0, "end": 0, "score": nothing})
        for candidate, chance in zip(candidates, softmax(np.array([c["score"] for c in candidates])), strict=True):
            candidate["score"] = round(float(candidate["score"]), 6)
            candidate["probability"] = round(float(chance), 6)
        difference = nothing - candidates[0]["score"]
        chosen = candidates[0] if threshold is None or difference <= threshold else candidates[-1]
        return {
            "id": example["id"],
            "text": example["text"],
            "answer": chosen["text"],
            "start": chosen["start"],
            "end": chosen["end"],
            "probability": chosen["probability"],
            "no_answer_score": round(float(difference), 6),
            "n_best": sorted(candidates, key=lambda candidate: -candidate["score"]),
        }

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """See squad_scores.scores."""
        truth = [[answer["text"] for answer in example["answers"]] for example in examples]
        found = [answer["answer"] for answer in answers]
        scores = squad_scores.scores(truth, found)
        if self.head.no_answer_threshold is not None:
            spans = [next((c["text"] for c in a["n_best"] if c["text"]), "") for a in answers]
            scores |= squad_scores.best_threshold(truth, spans, [answer["no_answer_score"] for answer in answers])
        return scores

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """F1 of answering with the context's first sentence, or, if that may be, with nothing."""
        truth = [[answer["text"] for answer in example["answers"]] for example in examples]
        sentences = [example["context"].split(". ")[0] for example in examples]
        found = {"first_sentence_baseline_f1": squad_scores.scores(truth, sentences)["f1"]}
        if self.head.no_answer_threshold is not None:
            found["no_answer_baseline_f1"] = squad_scores.scores(truth, [""] * len(truth))["f1"]
        return found


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
