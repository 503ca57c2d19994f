"""Which of several texts goes on best: SWAG, exams (Devlin et al. 2018, 4.4)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics

from bert_tf.core.config import BertConfig
from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.core.errors import InputError
from bert_tf.models.heads import BertForMultipleChoice
from bert_tf.tasks.rows_of_files import list_of, read_rows, text_of
from bert_tf.tasks.task import INPUTS, Outputs, Rows, Task, cut_note, pack, softmax
from bert_tf.text.wordpiece import Tokenizer


class MultipleChoice(Task):
    """Examples have "text", "choices" and "label", the number of the right one, counted from 0.

    data.second_text_field names a text that every choice goes on from, such as a sentence's beginning or a question.

    Answers: {"text", "choices", "label", "probabilities": [float, one a choice]}.
    """

    name = "multiple_choice"
    architecture = "BertForMultipleChoice"
    metric = "accuracy"
    takes_texts = False

    @classmethod
    def read(cls, data: FinetuneDataConfig, path: str, field: str, *, labelled: bool) -> list[dict]:
        """See Task. The label is a number, or the text of a choice."""
        examples = []
        for place, row in read_rows(path, field):
            choices = list_of(row, data.choices_field, place)
            if len(choices) < 2:
                raise InputError(f"{place}: {data.choices_field}: expected at least two. Received {len(choices)}.")
            example: dict[str, Any] = {"place": place, "text": text_of(row, data.text_field, place), "choices": choices}
            if data.second_text_field is not None:
                example["stem"] = text_of(row, data.second_text_field, place)
            if labelled:
                label = text_of(row, data.label_field, place)
                numbers = [str(number) for number in range(len(choices))]
                if label not in numbers and label not in choices:
                    raise InputError(
                        f"{place}: {data.label_field}: expected 0 to {len(choices) - 1} or a choice. "
                        f"Received: {label!r}."
                    )
                if label in numbers and label in choices and choices.index(label) != int(label):
                    raise InputError(
                        f"{place}: {data.label_field}: expected a number or a choice. Received {label!r}, which is the "
                        "number of one choice and the text of another."
                    )
                example["label"] = numbers.index(label) if label in numbers else choices.index(label)
                if not choices[example["label"]]:
                    raise InputError(
                        f"{place}: {data.label_field}: expected a choice with text. Received an empty one."
                    )
            examples.append(example)
        return examples

    def rows(self, examples: Sequence[dict], tokenizer: Tokenizer, *, labelled: bool) -> Rows:
        """See Task. Arrays are [examples, choices, length]; fewer choices than most have are filled up with nothing."""
        length, most = self.data.max_seq_length, max((len(e["choices"]) for e in examples), default=2)
        # An empty choice is none, as it is to what is served.
        places = [
            (row, k) for row, example in enumerate(examples) for k, choice in enumerate(example["choices"]) if choice
        ]
        firsts = [examples[row]["text"] for row, _ in places]
        seconds = [f"{examples[row].get('stem', '')} {examples[row]['choices'][k]}".strip() for row, k in places]
        packed, cut = pack(tokenizer, firsts, seconds, max_seq_length=length)
        arrays: dict[str, np.ndarray] = {name: np.zeros((len(examples), most, length), np.int32) for name in INPUTS}
        for name in INPUTS:
            arrays[name][tuple(np.array(places, np.int64).reshape(-1, 2).T)] = packed[name]
        if labelled:
            arrays["label_ids"] = np.array([example["label"] for example in examples], np.int32)
            arrays["label_weights"] = np.ones(len(examples), np.float32)
        return Rows(arrays, {}, cut_note(cut, length))

    def make_model(self, config: BertConfig, **kwargs) -> BertForMultipleChoice:
        """See Task."""
        model = BertForMultipleChoice(config, **kwargs)
        model.build()
        return model

    def answers(self, examples: Sequence[dict], rows: Rows, outputs: Outputs) -> list[dict]:
        """See Task."""
        answers = []
        for example, logits in zip(examples, outputs["logits"], strict=True):
            chances = softmax(logits[: len(example["choices"])])
            told = {"text": example["text"], "choices": example["choices"], "label": int(chances.argmax())}
            answers.append({**told, "probabilities": [round(float(p), 6) for p in chances]})
        return answers

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Accuracy."""
        truth, found = [e["label"] for e in examples], [a["label"] for a in answers]
        return {"examples": len(truth), "accuracy": float(metrics.accuracy_score(truth, found))}

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """The accuracy of chance."""
        return {"chance_baseline": float(np.mean([1.0 / len(example["choices"]) for example in examples]))}
