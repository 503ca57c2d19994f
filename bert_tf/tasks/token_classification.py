"""A tag for every word: entities, parts of speech (Devlin et al. 2018, 5.3).

Training, prediction and serving have one definition of a unit: what the tokenizer takes for a word, which is a stretch
of letters and digits, one punctuation mark, or one ideograph (bert_tf/tasks/tagging/units.py). The first piece of each
unit carries its tag.

- A word of several units, such as "9/7/1992 B-DATE", has its tag on the first unit and I-DATE on the others, so that
  the text "on 9/7/1992, in" gives one DATE, without the comma. A given word is answered by its first unit.
- White space defines no units: it leaves the comma in "1992,", the "'s" in "Clinton's", and one word in Chinese.
- A model that was trained elsewhere on the first pieces of words answers given words as it did there. In texts it has
  not learned the further units; transformers' pipeline, with aggregation_strategy="first", has the same units.
  Evaluation scores texts too, and shows the difference.
"""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from sklearn import metrics

from bert_tf.core.config import FinetuneConfig
from bert_tf.objectives.supervised import Supervised
from bert_tf.tasks.classification import labels_of
from bert_tf.tasks.shared.graph_rows import MAX_ROWS_OF_A_TEXT, pieces
from bert_tf.tasks.tagging import files, learning, schemes
from bert_tf.tasks.tagging import scores as tag_scores
from bert_tf.tasks.tagging.entities import entities
from bert_tf.tasks.tagging.files import TagDataConfig as TagDataConfig  # for configs
from bert_tf.tasks.tagging.spans import characters_of
from bert_tf.tasks.tagging.units import flat_words, frame_units, of_units, units_of_lists, units_of_texts
from bert_tf.tasks.task import Task, strings
from bert_tf.tasks.task import text as text_from
from bert_tf.text.segments import rows_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenClassificationConfig(FinetuneConfig):
    """A tag for every word."""

    task: Literal["token_classification"] = "token_classification"
    data: TagDataConfig = TagDataConfig()


class TokenClassification(Task):
    """Examples have "words" and "tags", one a word, or a "text", whose units are its words, and "entities".

    Answers: {"words", "tags", "probabilities", "entities": [{"type", "words": [first, last + 1], "text"}]}, and for a
    text the "bytes" of each word, [begin, end], and of each entity, which also has "start" and "end", its characters.
    """

    name = "token_classification"
    config_class = TokenClassificationConfig
    head = "tokens"
    has_labels = True
    has_windows = True
    signature = "tag"
    matrix_inputs = ("words",)
    too_long = f"continues in further rows of max_seq_length tokens, {MAX_ROWS_OF_A_TEXT} at most"

    @property
    def metric(self) -> str:  # type: ignore[override]  # what other classes know, this learns
        """Entity F1 for tags that name entities, accuracy for others."""
        return "f1" if self._names_entities() else "accuracy"

    def _names_entities(self) -> bool:
        return schemes.names_entities(self.labels)

    @classmethod
    def read(cls, data: Any, path: str, field: str, *, labelled: bool) -> list[dict]:
        """A CoNLL file, rows with lists, or texts with entities; see bert_tf/tasks/tagging/files.py."""
        return files.read(data, path, field, labelled=labelled)

    @classmethod
    def learn_labels(cls, examples: Sequence[dict], data: Any, field: str) -> list[str]:
        """data.labels, else the tags of the examples, sorted, and I- for each type that only begins.

        Raises:
          InputError: tags of several schemes, naming the place.
        """
        return labels_of(learning.tags_to_learn(examples), data, field)

    def sample(self, text: str) -> dict:
        return {"place": "sample", "text": text, "words": text.split(), "tags": self.labels[:1] * len(text.split())}

    def inputs(self) -> dict[str, str]:
        return {"text": "a text"}

    def fields(self) -> dict[str, str]:
        return super().fields() | {"words": self.data.text_field}

    def counts(self) -> dict[str, str]:
        """See Task; what is of entities has a name that begins so."""
        outputs = {*self.outputs(), *self.more_signatures()["tag_words"][1]} - {"word_count", "entity_count"}
        return {name: "entity_count" if name.startswith("entit") else "word_count" for name in sorted(outputs)}

    def more_signatures(self) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        """See Task: the same for words that are given."""
        of_texts = ("words", "begins", "ends", "entities", "entity_begins", "entity_ends")
        outputs = {name: what for name, what in self.outputs().items() if name not in of_texts}
        if self._names_entities():
            outputs["entity_first_words"] = "[batch, entities] number of its first word, from 0"
            outputs["entity_last_words"] = "[batch, entities] number of its last word"
        return {"tag_words": ({"words": "[batch, words] words of a text; padded with ''"}, outputs)}

    def request(self, examples, names):
        """See Task: words are given only to what asks for them."""
        if "words" not in names:
            return {"text": strings(example["text"] for example in examples)}
        most = max((len(example["words"]) for example in examples), default=0)
        rows = [[*example["words"], *[""] * (most - len(example["words"]))] for example in examples]
        return {"words": strings(word for row in rows for word in row).reshape(len(rows), most)}

    def kind_of(self, example: dict) -> str:
        return "words" if "words" in example else "text"

    def columns(self, examples):
        """See Task: words that are given are one column, and how many each example has another."""
        if "words" not in examples[0]:
            return {"text": strings(example["text"] for example in examples)}
        counts = np.array([len(example["words"]) for example in examples], np.int64)
        return {"words": strings(word for example in examples for word in example["words"]), "word_counts": counts}

    def frame(self, tokenizer, columns, *, fixed_length, most_rows):
        length = self.data.max_seq_length
        if "text" in columns:
            units = units_of_texts(tokenizer, columns["text"], length - 2)
        elif "word_counts" in columns:
            units = units_of_lists(tokenizer, columns["words"], columns["word_counts"], length - 2)
        else:
            units = units_of_lists(tokenizer, *flat_words(columns["words"]), length - 2)
        return frame_units(tokenizer, units, length, fixed_length=fixed_length, most_rows=most_rows)

    def token_outputs(self) -> dict[str, list]:
        return {"logits": [None, len(self.labels)]}

    def decode(self, tokenizer, outputs, layout, columns):
        splits, first_units = layout["word_splits"], layout["word_units"]
        begins, ends, found = (
            tf.RaggedTensor.from_row_splits(tf.gather(x, first_units), splits, validate=False)
            for x in (layout["starts"], layout["ends"], of_units(outputs["logits"], layout))
        )
        # Units behind the last row were not looked at.
        count = tf.size(splits) - 1
        looked_at = tf.math.unsorted_segment_sum(layout["lasts"] - layout["firsts"], layout["row_text"], count)
        text = rows_of(begins)
        is_looked_at = first_units < tf.gather(layout["row_splits"][:-1] + looked_at, text)
        counts = tf.math.unsorted_segment_sum(tf.cast(is_looked_at, tf.int64), text, count)
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
            answers |= entities(self.labels, best, is_word, begins, ends, columns.get("text"))
        return answers

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
            answer["entities"] = self._answered_entities(words, example.get("text"), found)
        return answer

    def _answered_entities(self, words: list[str], text: str | None, found) -> list[dict]:
        """Entities, as they stand in the text where it was asked."""
        count = int(found["entity_count"])
        types, firsts, lasts = (found[f"entity_{name}"][:count] for name in ("types", "first_words", "last_words"))
        entities: list[dict] = [
            {"type": text_from(kind), "words": [int(first), int(last) + 1]}
            for kind, first, last in zip(types, firsts, lasts, strict=True)
        ]
        if "entities" not in found or text is None:
            for entity in entities:
                entity["text"] = self.data.word_separator.join(words[slice(*entity["words"])])
            return entities
        spans = [[int(found[name][k]) for name in ("entity_begins", "entity_ends")] for k in range(count)]
        for k, (start, end) in enumerate(characters_of(text, spans)):
            entities[k] |= {"text": text_from(found["entities"][k]), "bytes": spans[k], "start": start, "end": end}
        return entities

    def label_arrays(self, examples, layout):
        """See Task: of each unit's first token; units of which nobody knows the tag have the weight 0."""
        tags, notes = learning.unit_tags(examples, layout, self.labels)
        token = layout["token"]
        is_first = layout["is_token"] & np.append(layout["begins_unit"], False)[token]
        found = tags[layout["unit"][token[is_first]]]
        label_ids, weights = np.zeros(token.shape, np.int32), np.zeros(token.shape, np.float32)
        label_ids[is_first], weights[is_first] = np.maximum(found, 0), found >= 0
        return {"label_ids": label_ids, "label_weights": weights}, notes

    def notes(self, layout) -> dict[str, int]:
        rows = np.bincount(layout["row_text"])
        continued = f"continued in another row of {self.data.max_seq_length} tokens"
        return {continued: int((rows > 1).sum()), "words truncated": int(layout["truncated"])}

    def objective(self) -> Supervised:
        return Supervised("tagging_loss")

    def head_settings(self, dropout: float) -> dict:
        return {"units": len(self.labels), "dropout": dropout}

    def check_labels(self, examples: Sequence[dict]) -> None:
        learning.check_tags(examples, self.labels)

    def continues_labels(self, others: Sequence[str]) -> bool:
        return sorted({*others, *(schemes.inside(tag, others) for tag in others)}) == sorted(self.labels)

    def scores(self, examples: Sequence[dict], answers: Sequence[dict]) -> dict[str, float]:
        """Accuracy of words; precision, recall and F1 of whole entities with their types, or macro F1 of the tags."""
        truth, found = tag_scores.pairs_of_tags(examples, answers, self.labels)
        scores = {"examples": len(examples), "words": len(truth), "accuracy": 0.0}
        if truth:
            scores["accuracy"] = float(metrics.accuracy_score(truth, found))
        if self._names_entities():
            pairs = zip(examples, answers, strict=True)
            found_entities = [tag_scores.entities_found(example, answer) for example, answer in pairs]
            return scores | tag_scores.entity_scores([tag_scores.entities_of(e) for e in examples], found_entities)
        return scores | {"macro_f1": float(metrics.f1_score(truth, found, average="macro", zero_division=0))}

    def as_asked(self, examples):
        """See Task: words as the text that a user would send."""
        if not self._names_entities() or not all("tags" in example for example in examples):
            return []
        return [tag_scores.as_text(example, self.data.word_separator) for example in examples]

    def scores_as_asked(self, examples, answers):
        """See Task: precision, recall and F1 of entities found in texts."""
        truth, found = [tag_scores.entities_of(e) for e in examples], [tag_scores.in_text(a) for a in answers]
        return {f"text_{name}": value for name, value in tag_scores.entity_scores(truth, found).items()}

    def baseline(self, training: Sequence[dict], examples: Sequence[dict]) -> dict[str, float]:
        """Each word as it is tagged most often in training, unknown words as most words are (the usual hard one)."""
        counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        training, examples = ([tag_scores.with_words(e, self.labels) for e in both] for both in (training, examples))
        for example in training:
            for word, tag in zip(example["words"], example["tags"], strict=True):
                counts[word][tag] += 1
                counts[""][tag] += 1
        usual = {word: max(sorted(found), key=found.__getitem__) for word, found in counts.items()}
        most = usual.get("", schemes.OUTSIDE)
        answers = [{"tags": [usual.get(word, most) for word in example["words"]]} for example in examples]
        return {f"usual_tag_baseline_{self.metric}": self.scores(examples, answers)[self.metric]}

    def report(self, examples: Sequence[dict], answers: Sequence[dict]) -> str:
        """See Task; of words."""
        truth, found = tag_scores.pairs_of_tags(examples, answers, self.labels)
        if not truth:
            return "no words"
        return metrics.classification_report(truth, found, labels=self.labels, digits=4, zero_division=0)

    def confusion(self, examples: Sequence[dict], answers: Sequence[dict]) -> np.ndarray:
        """See Task; of words."""
        return metrics.confusion_matrix(*tag_scores.pairs_of_tags(examples, answers, self.labels), labels=self.labels)
