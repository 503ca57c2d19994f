"""A tag for every word, carried by its first piece: entities, parts of speech (Devlin et al. 2018, 5.3)."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from nervaluate import Evaluator
from sklearn import metrics

from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError
from bert_tf.objectives.supervised import Supervised
from bert_tf.tasks.classification import labels_of
from bert_tf.tasks.shared.graph_rows import MAX_ROWS_OF_A_TEXT, pieces
from bert_tf.tasks.shared.rows_of_files import list_of, read_lines, read_rows, text_of, value_of
from bert_tf.tasks.shared.sections import ClassDataConfig
from bert_tf.tasks.shared.words import frame_words, of_words, words_of_lists, words_of_texts
from bert_tf.tasks.task import Task, check_label, strings
from bert_tf.tasks.task import text as text_from

_CONLL = (".conll", ".txt")
_OUTSIDE = "O"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TagDataConfig(ClassDataConfig):
    """Columns with the words, or a text, and with a tag for each word."""

    tag_column: int = -1  # .conll: counted from 0, or from the end


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenClassificationConfig(FinetuneConfig):
    """A tag for every word."""

    task: Literal["token_classification"] = "token_classification"
    data: TagDataConfig = TagDataConfig()


class TokenClassification(Task):
    """Examples have "words", or a "text" that the tokenizer splits into words, and "tags", one a word.

    Answers: {"words", "tags", "probabilities", "entities": [{"type", "words": [first, last + 1], "text"}]}, and for a
    text the "bytes" of each word and entity, [begin, end].
    """

    name = "token_classification"
    config_class = TokenClassificationConfig
    head = "tokens"
    has_labels = True
    has_windows = True
    signature = "tag"
    too_long = f"continues in further rows of max_seq_length tokens, {MAX_ROWS_OF_A_TEXT} at most"

    @property
    def metric(self) -> str:  # type: ignore[override]  # what other classes know, this learns
        """Entity F1 for tags that name entities, accuracy for others."""
        return "f1" if self._names_entities() else "accuracy"

    def _names_entities(self) -> bool:
        return all(label == _OUTSIDE or label[:2] in ("B-", "I-") for label in self.labels)

    @classmethod
    def read(cls, data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
        """A .conll (or .txt) file with a word a line and an empty line behind a sentence, or rows with lists."""
        if path.endswith(_CONLL):
            readers = dict.fromkeys(_CONLL, lambda file, path: _conll(file, path, data.tag_column, labelled))
            examples = read_lines(path, field, readers)
            if not examples:
                raise InputError(f"{field}={path}: expected at least one sentence. Received an empty file.")
            return examples
        examples = []
        for place, row in read_rows(path, field):
            if not labelled and isinstance(value_of(row, data.text_field, place), str):
                examples.append({"place": place, "text": text_of(row, data.text_field, place)})
                continue
            example = {"place": place, "words": list_of(row, data.text_field, place)}
            if labelled:
                example["tags"] = list_of(row, data.label_field, place)
                if len(example["tags"]) != len(example["words"]):
                    counts = f"{len(example['words'])} words and {len(example['tags'])} tags"
                    raise InputError(f"{place}: expected as many tags as words. Received {counts}.")
                if not all(tag.strip() for tag in example["tags"]):
                    raise InputError(f"{place}: expected a tag for every word. Received an empty one.")
            examples.append(example)
        return examples

    @classmethod
    def learn_labels(cls, examples: Sequence[dict], data: Any, field: str) -> list[str]:
        """See Classification."""
        return labels_of((tag for example in examples for tag in example["tags"]), data, field)

    def sample(self, text: str) -> dict:
        return {"place": "sample", "text": text, "words": text.split(), "tags": self.labels[:1] * len(text.split())}

    def inputs(self) -> dict[str, str]:
        return {"text": "a text"}

    def kind_of(self, example: dict) -> str:
        return "words" if "words" in example else "text"

    def columns(self, examples):
        """See Task: words that are given are one column, and how many each example has another."""
        if "words" not in examples[0]:
            return {"text": strings(example["text"] for example in examples)}
        counts = np.array([len(example["words"]) for example in examples], np.int64)
        return {"words": strings(word for example in examples for word in example["words"]), "word_counts": counts}

    def frame(self, tokenizer, columns, *, fixed_length, most_rows):
        most = self.data.max_seq_length - 2
        if "text" in columns:
            words = words_of_texts(tokenizer, columns["text"], most)
        else:
            words = words_of_lists(tokenizer, columns["words"], columns["word_counts"], most)
        length = self.data.max_seq_length
        return frame_words(tokenizer, words, length, fixed_length=fixed_length, most_rows=most_rows)

    def token_outputs(self) -> dict[str, list]:
        return {"logits": [None, len(self.labels)]}

    def decode(self, tokenizer, outputs, layout, columns):
        splits = layout["row_splits"]
        begins, ends, found = (
            tf.RaggedTensor.from_row_splits(x, splits, validate=False)
            for x in (layout["starts"], layout["ends"], of_words(outputs["logits"], layout))
        )
        # Words behind the last row were not looked at.
        looked_at = layout["lasts"] - layout["firsts"]
        counts = tf.math.unsorted_segment_sum(looked_at, layout["row_text"], tf.size(splits) - 1)
        width = tf.reduce_max(tf.concat([counts, [0]], axis=0))
        is_word = tf.range(width)[None] < counts[:, None]
        # Cut before they are filled up: one text of megabytes must not make all rows as wide.
        begins, ends = (tf.where(is_word, x.to_tensor(shape=tf.stack([-1, width])), 0) for x in (begins, ends))
        chances = tf.nn.softmax(found.to_tensor(shape=tf.stack([-1, width, len(self.labels)])))
        best = tf.argmax(chances, axis=-1, output_type=tf.int32)
        answers = {
            "tags": tf.where(is_word, tf.gather(tf.constant(self.labels), best), ""),
            "probabilities": tf.where(is_word, tf.reduce_max(chances, axis=-1), 0.0),
            "word_count": tf.cast(counts, tf.int32),
            "begins": tf.cast(begins, tf.int32),
            "ends": tf.cast(ends, tf.int32),
        }
        if "text" in columns:
            answers["words"] = pieces(columns["text"], begins, ends)
        if self._names_entities():
            answers |= self._entities(best, is_word, begins, ends, columns.get("text"))
        return answers

    def _entities(self, best, is_word, begins, ends, text) -> dict[str, tf.Tensor]:
        """Stretches of B-, I- and O tags. As in CoNLL-2003's script, an I- begins an entity too where none of its type
        is open."""
        kinds = sorted({label[2:] for label in self.labels if label != _OUTSIDE})
        kind_of = tf.constant([kinds.index(label[2:]) if label != _OUTSIDE else -1 for label in self.labels])
        is_inside = tf.constant([label[:2] == "I-" for label in self.labels])
        kind = tf.where(is_word, tf.gather(kind_of, best), -1)
        before = tf.pad(kind, [[0, 0], [1, 0]], constant_values=-1)[:, :-1]
        goes_on = tf.gather(is_inside, best) & (kind >= 0) & (kind == before)
        is_first = (kind >= 0) & ~goes_on
        is_last = (kind >= 0) & ~tf.pad(goes_on, [[0, 0], [0, 1]])[:, 1:]
        counts = tf.reduce_sum(tf.cast(is_first, tf.int64), axis=1)

        def dense(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
            return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(values, chosen), counts, validate=False).to_tensor()

        number = tf.range(tf.shape(kind)[1])[None] + tf.zeros_like(kind)
        entity_begins, entity_ends = dense(begins, is_first), dense(ends, is_last)
        # A kind that no label has stands for none, where a text has fewer entities than another.
        names = tf.constant([*kinds, ""])
        is_entity = tf.range(tf.shape(entity_begins)[1])[None] < tf.cast(counts, tf.int32)[:, None]
        found = {
            "entity_types": tf.gather(names, tf.where(is_entity, dense(kind, is_first), len(kinds))),
            "entity_begins": tf.cast(entity_begins, tf.int32),
            "entity_ends": tf.cast(entity_ends, tf.int32),
            "entity_first_words": dense(number, is_first),
            "entity_last_words": dense(number, is_last),
            "entity_count": tf.cast(counts, tf.int32),
        }
        return found if text is None else found | {"entities": pieces(text, entity_begins, entity_ends)}

    def outputs(self) -> dict[str, str]:
        """See Task; entities only for tags that name some."""
        found = {
            "words": "[batch, words] as written in the text; padded with '' behind word_count",
            "begins": "[batch, words] byte of the text where each begins",
            "ends": "[batch, words] byte behind each",
            "tags": "[batch, words]",
            "probabilities": "[batch, words] of the tags",
            "word_count": "[batch]",
        }
        entities = {
            "entities": "[batch, entities] as written in the text; padded with '' behind entity_count",
            "entity_types": "[batch, entities]",
            "entity_begins": "[batch, entities] byte of the text where each begins",
            "entity_ends": "[batch, entities] byte behind each",
            "entity_count": "[batch]",
        }
        return found | entities if self._names_entities() else found

    def answer(self, example, found):
        answer, count = {}, int(found["word_count"])
        words = example.get("words")
        if words is None:
            words = [text_from(word) for word in found["words"][:count]]
            spans = zip(found["begins"][:count].tolist(), found["ends"][:count].tolist(), strict=True)
            answer = {"text": example["text"], "bytes": [list(span) for span in spans]}
        answer |= {
            "words": words,
            "tags": [text_from(tag) for tag in found["tags"][:count]],
            "probabilities": [round(float(p), 6) for p in found["probabilities"][:count]],
        }
        if self._names_entities():
            answer["entities"] = [self._entity(k, words, found) for k in range(int(found["entity_count"]))]
        return answer

    def _entity(self, number: int, words: list[str], found) -> dict:
        """An entity, as it stands in the text where there is one."""
        first, last = int(found["entity_first_words"][number]), int(found["entity_last_words"][number]) + 1
        entity = {"type": text_from(found["entity_types"][number]), "words": [first, last]}
        if "entities" not in found:
            return {**entity, "text": " ".join(words[first:last])}
        span = [int(found[name][number]) for name in ("entity_begins", "entity_ends")]
        return {**entity, "text": text_from(found["entities"][number]), "bytes": span}

    def label_arrays(self, examples, layout):
        ids = {label: index for index, label in enumerate(self.labels)}
        tags = [check_label(tag, ids, example["place"]) for example in examples for tag in example["tags"]]
        token, word = layout["token"], layout["word"]
        is_first = layout["is_token"] & np.append(layout["begins_word"], False)[token]
        label_ids = np.zeros(token.shape, np.int32)
        label_ids[is_first] = np.array(tags, np.int32)[word[token[is_first]]]
        return {"label_ids": label_ids, "label_weights": is_first.astype(np.float32)}, {}

    def notes(self, layout) -> dict[str, int]:
        rows = np.bincount(layout["row_text"])
        continued = f"continued in another row of {self.data.max_seq_length} tokens"
        return {continued: int((rows > 1).sum()), "words truncated": int(layout["truncated"])}

    def objective(self) -> Supervised:
        return Supervised("tagging_loss")

    def head_settings(self, dropout: float) -> dict:
        return {"units": len(self.labels), "dropout": dropout}

    def check_labels(self, examples: Sequence[dict]) -> None:
        ids = dict.fromkeys(self.labels, 0)
        for example in examples:
            for tag in example["tags"]:
                check_label(tag, ids, example["place"])

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Accuracy of words; precision, recall and F1 of whole entities with their types, or macro F1 of the tags."""
        truth, found = [e["tags"] for e in examples], [a["tags"] for a in answers]
        flat_truth, flat_found = ([tag for tags in both for tag in tags] for both in (truth, found))
        scores = {
            "examples": len(truth),
            "words": len(flat_truth),
            "accuracy": float(metrics.accuracy_score(flat_truth, flat_found)),
        }
        if self._names_entities():
            types = sorted({label[2:] for label in self.labels if label != _OUTSIDE})
            strict = Evaluator(truth, found, tags=types, loader="list").evaluate()["overall"]["strict"]
            return {**scores, "precision": strict.precision, "recall": strict.recall, "f1": strict.f1}
        return {
            **scores,
            "macro_f1": float(metrics.f1_score(flat_truth, flat_found, average="macro", zero_division=0)),
        }

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """Each word as it is tagged most often in training, unknown words as most words are (the usual hard one)."""
        counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        for example in training:
            for word, tag in zip(example["words"], example["tags"], strict=True):
                counts[word][tag] += 1
                counts[""][tag] += 1
        usual = {word: max(sorted(found), key=found.__getitem__) for word, found in counts.items()}
        answers = [{"tags": [usual.get(word, usual[""]) for word in example["words"]]} for example in examples]
        return {f"usual_tag_baseline_{self.metric}": self.scores(examples, answers)[self.metric]}

    def report(self, examples: Sequence[dict], answers: Sequence[dict]) -> str:
        """See Task; of words."""
        truth, found = ([tag for row in rows for tag in row["tags"]] for rows in (examples, answers))
        return metrics.classification_report(truth, found, labels=self.labels, digits=4, zero_division=0)

    def confusion(self, examples: Sequence[dict], answers: Sequence[dict]) -> np.ndarray:
        """See Task; of words."""
        truth, found = ([tag for row in rows for tag in row["tags"]] for rows in (examples, answers))
        return metrics.confusion_matrix(truth, found, labels=self.labels)


def _conll(file, path: str, tag_column: int, labelled: bool) -> Iterator[dict]:
    words, tags, begin = [], [], 1
    for number, line in enumerate([*file, "\n"], start=1):
        if not line.strip():
            if words:
                yield {"place": f"{path}:{begin}", "words": words, **({"tags": tags} if labelled else {})}
            words, tags, begin = [], [], number + 1
            continue
        cells = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        if cells[0] == "-DOCSTART-":
            continue
        if not cells[0].strip() or (labelled and len(cells) < 2):
            raise InputError(f"{path}:{number}: expected a word and its tag. Received: {line.strip()!r}.")
        words.append(cells[0].strip())
        if labelled:
            if not -len(cells) <= tag_column < len(cells):
                raise InputError(
                    f"{path}:{number}: expected the column data.tag_column={tag_column}. Received {len(cells)}."
                )
            tags.append(cells[tag_column].strip())
            if not tags[-1]:
                raise InputError(f"{path}:{number}: expected a word and its tag. Received no tag.")
