"""A tag for every word, carried by its first piece: entities, parts of speech (Devlin et al. 2018, 5.3)."""

import collections
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from nervaluate import Evaluator
from sklearn import metrics

from bert_tf.core.config import BertConfig
from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.core.errors import InputError
from bert_tf.models.heads import BertForTokenClassification
from bert_tf.tasks.classification import labels_of
from bert_tf.tasks.rows_of_files import list_of, read_lines, read_rows, text_of, value_of
from bert_tf.tasks.task import Outputs, Rows, Task, check_label, softmax
from bert_tf.text.vocabulary import CLS, SEP, UNK
from bert_tf.text.wordpiece import Tokenizer

_CONLL = (".conll", ".txt")
_OUTSIDE = "O"


class TokenClassification(Task):
    """Examples have "words", or a "text" that the tokenizer splits into words, and "tags", one a word.

    Answers: {"words", "tags", "probabilities", "entities": [{"type", "words": [first, last + 1], "text"}]}, and for a
    text the "bytes" of each word and entity, [begin, end].
    """

    name = "token_classification"
    architecture = "BertForTokenClassification"
    has_labels = True

    @property
    def metric(self) -> str:  # type: ignore[override]  # what other classes know, this learns
        """Entity F1 for tags that name entities, accuracy for others."""
        return "f1" if self._names_entities() else "accuracy"

    def _names_entities(self) -> bool:
        return all(label == _OUTSIDE or label[:2] in ("B-", "I-") for label in self.labels)

    @classmethod
    def read(cls, data: FinetuneDataConfig, path: str, field: str, *, labelled: bool) -> list[dict]:
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
    def learn_labels(cls, examples: Sequence[dict], data: FinetuneDataConfig, field: str) -> list[str]:
        """See Classification."""
        return labels_of((tag for example in examples for tag in example["tags"]), data, field)

    def rows(self, examples: Sequence[dict], tokenizer: Tokenizer, *, labelled: bool) -> Rows:
        """See Task. A sentence that is too long for a row goes on in the next, without context from the one before.

        extra: "places", for each row (example, its first word's number, positions of its words' first pieces); "bytes",
        for each example its words' [begin, end], None where it came as words.
        """
        ids = {label: index for index, label in enumerate(self.labels)}
        length, budget = self.data.max_seq_length, self.data.max_seq_length - 2
        pieces, spans = _pieces(examples, tokenizer)
        tables: dict[str, list] = {"input_word_ids": [], "label_ids": [], "label_weights": []}
        places, continued, long_words = [], 0, 0
        for number, example in enumerate(examples):
            words = pieces[number]
            long_words += sum(len(word) > budget for word in words)
            chunks = list(_chunks([min(len(word), budget) for word in words], budget))
            continued += len(chunks) > 1
            for first, last in chunks:
                row, labels, weights, positions = [tokenizer.vocabulary[CLS]], [0], [0.0], []
                for index in range(first, last):
                    positions.append(len(row))
                    piece = words[index][:budget]
                    row += piece
                    label = check_label(example["tags"][index], ids, example["place"]) if labelled else 0
                    labels += [label] + [0] * (len(piece) - 1)
                    weights += [1.0] + [0.0] * (len(piece) - 1)
                row.append(tokenizer.vocabulary[SEP])
                places.append((number, first, positions))
                tables["input_word_ids"].append(row)
                tables["label_ids"].append(labels)
                tables["label_weights"].append(weights)
        arrays = {
            "input_word_ids": _padded(tables["input_word_ids"], length, np.int32),
            "input_mask": _padded([[1] * len(row) for row in tables["input_word_ids"]], length, np.int32),
        }
        arrays["input_type_ids"] = np.zeros_like(arrays["input_mask"])
        if labelled:
            arrays["label_ids"] = _padded(tables["label_ids"], length, np.int32)
            arrays["label_weights"] = _padded(tables["label_weights"], length, np.float32)
        notes = {f"continued in another row of {length} tokens": continued, "words cut": long_words}
        return Rows(arrays, {"places": places, "bytes": spans}, {name: n for name, n in notes.items() if n})

    def check_labels(self, examples: Sequence[dict]) -> None:
        """See Task."""
        ids = dict.fromkeys(self.labels, 0)
        for example in examples:
            for tag in example["tags"]:
                check_label(tag, ids, example["place"])

    def make_model(self, config: BertConfig, **kwargs) -> BertForTokenClassification:
        """See Task."""
        model = BertForTokenClassification(config, num_labels=len(self.labels), **kwargs)
        model.build()
        return model

    def answers(self, examples: Sequence[dict], rows: Rows, outputs: Outputs) -> list[dict]:
        """See Task."""
        tags: list[list[str]] = [[] for _ in examples]
        chances: list[list[float]] = [[] for _ in examples]
        for (number, _, positions), logits in zip(rows.extra["places"], outputs["logits"], strict=True):
            probabilities = softmax(logits[positions]) if positions else np.zeros((0, len(self.labels)))
            best = probabilities.argmax(axis=1) if len(probabilities) else []
            tags[number] += [self.labels[index] for index in best]
            chances[number] += [round(float(p[i]), 6) for p, i in zip(probabilities, best, strict=True)]
        answers = []
        for example, found, probabilities, spans in zip(examples, tags, chances, rows.extra["bytes"], strict=True):
            answer = {} if "text" not in example else {"text": example["text"]}
            words = example.get("words")
            if words is None:
                source = example["text"].encode()
                words = [source[a:b].decode("utf-8", "replace") for a, b in spans]
                answer["bytes"] = [list(map(int, span)) for span in spans]
            answer |= {"words": words, "tags": found, "probabilities": probabilities}
            if self._names_entities():
                answer["entities"] = [_entity(*entity, words, example.get("text"), spans) for entity in entities(found)]
            answers.append(answer)
        return answers

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


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, last word + 1) of B-, I- and O tags. As in CoNLL-2003's script, an I- begins an entity too
    where none of its type is open."""
    found: list[tuple[str, int, int]] = []
    kind, first = None, 0
    for index, tag in enumerate([*tags, _OUTSIDE]):
        goes_on = tag[:2] == "I-" and tag[2:] == kind
        if kind is not None and not goes_on:
            found.append((kind, first, index))
            kind = None
        if kind is None and tag != _OUTSIDE:
            kind, first = tag[2:], index
    return found


def _entity(kind: str, first: int, last: int, words: list[str], text: str | None, spans: list | None) -> dict:
    """An entity, as it stands in the text where there is one."""
    if spans is None or text is None:
        return {"type": kind, "words": [first, last], "text": " ".join(words[first:last])}
    begin, end = int(spans[first][0]), int(spans[last - 1][1])
    found = text.encode()[begin:end].decode("utf-8", "replace")
    return {"type": kind, "words": [first, last], "text": found, "bytes": [begin, end]}


def _pieces(examples: Sequence[dict], tokenizer: Tokenizer) -> tuple[list[list[list[int]]], list]:
    """For each example the pieces of each word, and the words' bytes where they were found in a text."""
    unknown = tokenizer.vocabulary[UNK]
    flat = [word for example in examples if "words" in example for word in example["words"]]
    of_words = iter(tokenizer.tokenize(tf.constant(flat)).to_list() if flat else [])
    texts = [example["text"] for example in examples if "words" not in example]
    of_texts = iter(
        zip(*(part.to_list() for part in tokenizer.tokenize_with_offsets(texts)), strict=True) if texts else []
    )
    pieces: list[list] = []
    spans: list[list | None] = []
    for example in examples:
        if "words" in example:
            # A word of which the tokenizer keeps nothing has a tag all the same.
            pieces.append([next(of_words) or [unknown] for _ in example["words"]])
            spans.append(None)
            continue
        words, bounds = [], []
        for token, begin, end in zip(*next(of_texts), strict=True):
            if words and tokenizer.vocabulary.tokens[token].startswith("##"):
                words[-1].append(token)
                bounds[-1][1] = end
            else:
                words.append([token])
                bounds.append([begin, end])
        pieces.append(words)
        spans.append(bounds)
    return pieces, spans


def _chunks(lengths: Sequence[int], budget: int) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of stretches whose lengths add up to at most `budget`; one empty stretch for none at all."""
    first, size = 0, 0
    for index, length in enumerate(lengths):
        if size + length > budget:
            yield first, index
            first, size = index, 0
        size += length
    yield first, len(lengths)


def _padded(rows: Sequence[Sequence], length: int, dtype) -> np.ndarray:
    table = np.zeros((len(rows), length), dtype)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table


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
