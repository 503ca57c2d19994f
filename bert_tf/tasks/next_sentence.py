"""Whether a text follows another: what pretraining learns beside words (Devlin et al. 2018, 3.1)."""

from collections.abc import Sequence

import numpy as np
from sklearn import metrics

from bert_tf.core.config import BertConfig
from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.core.errors import InputError
from bert_tf.objectives.masked_lm import BertForNextSentencePrediction
from bert_tf.tasks.rows_of_files import read_rows, text_of
from bert_tf.tasks.sequences import told
from bert_tf.tasks.task import Outputs, Rows, Task, cut_note, pack, softmax
from bert_tf.text.wordpiece import Tokenizer

LABELS = ("next", "random")  # 0 and 1, as in google-research/bert


class NextSentence(Task):
    """Examples have "text" and "second_text", and perhaps "label", next or random.

    Answers: {"text", "second_text", "label", "probability"}, the probability that it is the next.
    """

    name = "next_sentence"
    architecture = "BertForNextSentencePrediction"
    metric = "accuracy"
    takes_texts = False
    is_trained = False

    @classmethod
    def read(cls, data: FinetuneDataConfig, path: str, field: str, *, labelled: bool) -> list[dict]:
        """See Task. The second text's column is "second_text" unless data.second_text_field says otherwise."""
        examples = []
        for place, row in read_rows(path, field):
            second = text_of(row, data.second_text_field or "second_text", place)
            example = {"place": place, "text": text_of(row, data.text_field, place), "second_text": second}
            if labelled:
                example["label"] = text_of(row, data.label_field, place)
                if example["label"] not in LABELS:
                    raise InputError(f"{place}: expected {' or '.join(LABELS)}. Received: {example['label']!r}.")
            examples.append(example)
        return examples

    def rows(self, examples: Sequence[dict], tokenizer: Tokenizer, *, labelled: bool) -> Rows:
        """See Task."""
        length = self.data.max_seq_length
        texts = ([example[name] for example in examples] for name in ("text", "second_text"))
        arrays, cut = pack(tokenizer, *texts, max_seq_length=length)
        return Rows(arrays, {}, cut_note(cut, length))

    def make_model(self, config: BertConfig, **kwargs) -> BertForNextSentencePrediction:
        """See Task."""
        model = BertForNextSentencePrediction(config, **kwargs)
        model.build()
        return model

    def answers(self, examples: Sequence[dict], rows: Rows, outputs: Outputs) -> list[dict]:
        """See Task."""
        answers = []
        for example, logits in zip(examples, outputs["next_sentence_logits"], strict=True):
            chances = softmax(logits)
            label = LABELS[int(chances.argmax())]
            answers.append({**told(example), "label": label, "probability": round(float(chances[0]), 6)})
        return answers

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Accuracy."""
        truth, found = [e["label"] for e in examples], [a["label"] for a in answers]
        return {"examples": len(truth), "accuracy": float(metrics.accuracy_score(truth, found))}

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """The accuracy of the commoner label."""
        share = float(np.mean([example["label"] == LABELS[0] for example in examples]))
        return {"majority_baseline": max(share, 1.0 - share)}
