"""The functions that a SavedModel offers, by task."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.serving.graphs import answer_graph, tag_graph
from bert_tf.serving.graphs.graph_rows import as_vector, at_least_one
from bert_tf.tasks.fill_mask import TOP
from bert_tf.tasks.next_sentence import LABELS
from bert_tf.tasks.task import INPUTS, Task
from bert_tf.text.vocabulary import MASK
from bert_tf.text.wordpiece import Tokenizer

DEFAULT = "serving_default"
# What a task's own signature is called beside.
NAMED = {
    "embedding": ("embed",),
    "fill_mask": ("fill_mask",),
    "multiple_choice": ("choose",),
    "question_answering": ("answer",),
    "token_classification": ("tag",),
}
MOST_MASKS = 32  # of a text: each has a number for every token of the vocabulary
_INT32, _STRING = tf.int32, tf.string


class Signature(NamedTuple):
    """A function of a SavedModel.

    Attributes:
      function: named tensors -> {name: dense tensor}.
      inputs, outputs: {name: what it is}.
      method: of TF Serving's API: predict, classify or regress.
    """

    function: tf.types.experimental.PolymorphicFunction
    inputs: dict[str, str]
    outputs: dict[str, str]
    method: str = "predict"


def signatures(task: Task, model: keras.Model, tokenizer: Tokenizer) -> dict[str, Signature]:
    """{name: signature} for a task's model.

    Raises:
      InputError: rows of the model are too short for the task.
    """
    length = task.data.max_seq_length
    if task.name == "question_answering" and length < 5:
        raise InputError(f"max_seq_length: expected at least 5, for a question and a context. Received: {length}.")
    return _Maker(task, model, tokenizer).make()


def _signature(body: Callable[..., dict], specs: dict[str, tf.TensorSpec], inputs, outputs, method="predict"):
    """A signature whose function has the parameters that `specs` names."""

    def function(*tensors):
        return body(*tensors)

    # tf.function takes the names of a signature's inputs from those of the parameters.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = inspect.Signature([inspect.Parameter(name, kind) for name in specs])
    function.__signature__ = names  # type: ignore[attr-defined]
    named = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()]
    return Signature(tf.function(function, input_signature=named, autograph=False), inputs, outputs, method)


class _Maker:
    """Makes the signatures of one model."""

    def __init__(self, task: Task, model: keras.Model, tokenizer: Tokenizer):
        self.task, self.model, self.tokenizer = task, model, tokenizer

    def make(self) -> dict[str, Signature]:
        default = getattr(self, f"_{self.task.name}")()
        made = {DEFAULT: default, **dict.fromkeys(NAMED.get(self.task.name, ()), default), "tokens": self._tokens()}
        if self.task.name in ("classification", "multi_label"):
            made["classify"] = self._classify()
        if self.task.name == "regression":
            made["regress"] = self._regress()
        return made

    def _call(self, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        outputs = self.model(rows, training=False)
        return {name: x for name, x in outputs.items() if name != "hidden_states"}

    def _packed(self, *columns: tf.Tensor) -> dict[str, tf.Tensor]:
        # As long as the longest text of the batch, so that short texts take short times.
        rows = self.tokenizer.pack(*columns, max_seq_length=self.task.data.max_seq_length, fixed_length=False)
        # No rows at all have no length either, which the model takes amiss.
        missing = tf.maximum(2 - tf.shape(rows["input_mask"])[1], 0)
        return {name: tf.pad(x, [[0, 0], [0, missing]]) for name, x in rows.items()}

    def _of_texts(self, names, answer, outputs: dict[str, str]) -> Signature:
        """A signature of some columns of texts: (rows of the model's outputs, texts) -> answer."""
        told = {"text": "a text", "second_text": "the text that it is paired with"}

        def body(*texts):
            columns = [as_vector(column) for column in texts]
            return answer(self._call(self._packed(*columns)), tf.size(columns[0]))

        specs = {name: tf.TensorSpec([None], _STRING) for name in names}
        return _signature(body, specs, {name: told[name] for name in names}, outputs)

    def _columns(self) -> tuple[str, ...]:
        return ("text",) if self.task.data.second_text_field is None else ("text", "second_text")

    def _classification(self) -> Signature:
        names = tf.constant(self.task.labels)

        def answer(outputs, count):
            return {
                "label": tf.gather(names, tf.argmax(outputs["logits"], axis=-1)),
                "probabilities": tf.nn.softmax(outputs["logits"]),
                "labels": tf.repeat(names[None], count, axis=0),
            }

        told = {
            "label": "[batch] the likeliest label",
            "probabilities": "[batch, labels]",
            "labels": "[batch, labels] names of the columns of probabilities",
        }
        return self._of_texts(self._columns(), answer, told)

    def _multi_label(self) -> Signature:
        def answer(outputs, count):
            labels = tf.repeat(tf.constant(self.task.labels)[None], count, axis=0)
            return {"probabilities": tf.sigmoid(outputs["logits"]), "labels": labels}

        threshold = self.task.head.decision_threshold
        told = {
            "probabilities": f"[batch, labels] of each label by itself; predictions give it from {threshold} on",
            "labels": "[batch, labels] names of the columns of probabilities",
        }
        return self._of_texts(self._columns(), answer, told)

    def _regression(self) -> Signature:
        told = {"value": "[batch] the number"}
        return self._of_texts(self._columns(), lambda outputs, count: {"value": outputs["logits"][:, 0]}, told)

    def _embedding(self) -> Signature:
        told = {"embedding": "[batch, width] the text's vector"}
        return self._of_texts(("text",), lambda outputs, count: {"embedding": outputs["embedding"]}, told)

    def _next_sentence(self) -> Signature:
        def answer(outputs, count):
            logits = outputs["next_sentence_logits"]
            return {
                "label": tf.gather(tf.constant(LABELS), tf.argmax(logits, axis=-1)),
                "probability": tf.nn.softmax(logits)[:, 0],
            }

        told = {"label": f"[batch] {' or '.join(LABELS)}", "probability": "[batch] that second_text follows"}
        return self._of_texts(("text", "second_text"), answer, told)

    def _fill_mask(self) -> Signature:
        vocabulary = self.tokenizer.vocabulary

        def body(text):
            rows = self._packed(as_vector(text))
            is_mask = rows["input_word_ids"] == vocabulary[MASK]
            places = tf.where(is_mask)
            found = tf.reduce_sum(tf.cast(is_mask, tf.int64), axis=1)
            masks = tf.RaggedTensor.from_row_lengths(tf.cast(places[:, 1], tf.int32), found, validate=False)
            positions = masks.to_tensor()[:, :MOST_MASKS]
            logits = self._call(rows | {"masked_lm_positions": positions})["masked_lm_logits"]
            chances, ids = tf.math.top_k(tf.nn.softmax(logits[..., : len(vocabulary)]), k=TOP)
            count = tf.minimum(tf.cast(found, tf.int32), MOST_MASKS)
            is_real = (tf.range(tf.shape(positions)[1])[None] < count[:, None])[..., None]
            return {
                "tokens": tf.where(is_real, tf.gather(tf.constant(vocabulary.tokens), ids), ""),
                "scores": tf.where(is_real, chances, 0.0),
                "mask_count": count,
            }

        told = {
            "tokens": f"[batch, masks, {TOP}] the likeliest for each {MASK}, best first; '' behind mask_count",
            "scores": f"[batch, masks, {TOP}] their probabilities",
            "mask_count": f"[batch] how many {MASK} the text has, {MOST_MASKS} at most",
        }
        return _signature(body, {"text": tf.TensorSpec([None], _STRING)}, {"text": f"a text with {MASK}"}, told)

    def _multiple_choice(self) -> Signature:
        stemmed = self.task.data.second_text_field is not None

        def body(text, choices, stem=None):
            choices = tf.ensure_shape(tf.raw_ops.PlaceholderWithDefault(input=choices, shape=None), [None, None])
            count, width = tf.unstack(tf.shape(choices))
            seconds = tf.reshape(choices, [-1])
            if stem is not None:
                seconds = tf.strings.strip(tf.strings.join([tf.repeat(as_vector(stem), width), seconds], separator=" "))
            rows = self._packed(tf.repeat(as_vector(text), width), seconds)
            rows = {name: tf.reshape(x, [count, width, tf.shape(x)[1]]) for name, x in rows.items()}
            is_choice = tf.cast(choices != "", tf.int32)[..., None]
            logits = self._call({name: x * is_choice for name, x in rows.items()})["logits"]
            best = tf.argmax(logits, axis=-1, output_type=tf.int32)
            return {
                "label": best,
                "choice": tf.gather(choices, best, batch_dims=1),
                "probabilities": tf.nn.softmax(logits),
            }

        specs = {"text": tf.TensorSpec([None], _STRING), "choices": tf.TensorSpec([None, None], _STRING)}
        inputs = {"text": "a text", "choices": "[batch, choices] what may follow; '' is none"}
        if stemmed:
            specs["stem"] = tf.TensorSpec([None], _STRING)
            inputs["stem"] = "what every choice goes on from"
        told = {
            "label": "[batch] number of the best choice, from 0",
            "choice": "[batch] the best choice",
            "probabilities": "[batch, choices]",
        }
        return _signature(body, specs, inputs, told)

    def _token_classification(self) -> Signature:
        def body(text):
            texts, count = at_least_one(as_vector(text))
            outputs = tag_graph.tags(
                lambda rows: self._call(rows)["logits"],
                self.tokenizer,
                self.task.labels,
                self.task.data.max_seq_length,
                texts,
            )
            return {name: x[:count] for name, x in outputs.items()}

        told = {
            "words": "[batch, words] as they stand in the text; '' behind word_count",
            "begins": "[batch, words] byte of the text where each begins",
            "ends": "[batch, words] byte behind each",
            "tags": "[batch, words]",
            "probabilities": "[batch, words] of the tags",
            "word_count": "[batch]",
            "entities": "[batch, entities] as they stand in the text; '' behind entity_count",
            "entity_types": "[batch, entities]",
            "entity_begins": "[batch, entities] byte of the text where each begins",
            "entity_ends": "[batch, entities] byte behind each",
            "entity_count": "[batch]",
        }
        signature = _signature(body, {"text": tf.TensorSpec([None], _STRING)}, {"text": "a text"}, told)
        outputs = signature.function.get_concrete_function().structured_outputs
        return signature._replace(outputs={name: text for name, text in told.items() if name in outputs})

    def _question_answering(self) -> Signature:
        task = self.task

        def body(question, context):
            (questions, count), (contexts, _) = (at_least_one(as_vector(x)) for x in (question, context))
            outputs = answer_graph.answers(self._call, self.tokenizer, task.data, task.head, questions, contexts)
            return {name: x[:count] for name, x in outputs.items()}

        specs = {name: tf.TensorSpec([None], _STRING) for name in ("question", "context")}
        told = {
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
        return _signature(body, specs, {"question": "a question", "context": "where its answer is sought"}, told)

    def _tokens(self) -> Signature:
        """The encoder's inputs, fixed in length, so that a server may batch them."""
        length = self.task.data.max_seq_length
        shape = [None, None, length] if self.task.name == "multiple_choice" else [None, length]
        specs = {name: tf.TensorSpec(shape, _INT32) for name in INPUTS}
        told = {"input_word_ids": "ids of [CLS] text [SEP], or of pairs, and [PAD]", "input_mask": "1 for tokens"}
        told["input_type_ids"] = "1 for the second text"
        if self.task.name == "fill_mask":
            specs["masked_lm_positions"] = tf.TensorSpec([None, MOST_MASKS], _INT32)
            told["masked_lm_positions"] = f"of the {MASK}, filled up with 0"
        signature = _signature(lambda *rows: self._call(dict(zip(specs, rows, strict=True))), specs, told, {})
        shapes = signature.function.get_concrete_function().structured_outputs
        return signature._replace(outputs=dict.fromkeys(shapes, "what the model gives for them"))

    def _parsed(self, answer, outputs: dict[str, str], method: str) -> Signature:
        """A signature of serialized tf.Example with the columns of texts."""
        features = {name: tf.io.FixedLenFeature([], _STRING) for name in self._columns()}

        def body(inputs):
            parsed = tf.io.parse_example(as_vector(inputs), features)
            columns = [parsed[name] for name in self._columns()]
            return answer(self._call(self._packed(*columns))["logits"], tf.size(columns[0]))

        told = {"inputs": f"serialized tf.Example with the bytes features {', '.join(features)}"}
        return _signature(body, {"inputs": tf.TensorSpec([None], _STRING)}, told, outputs, method)

    def _classify(self) -> Signature:
        chances = tf.nn.softmax if self.task.name == "classification" else tf.sigmoid

        def answer(logits, count):
            classes = tf.repeat(tf.constant(self.task.labels)[None], count, axis=0)
            return {"classes": classes, "scores": chances(logits)}

        return self._parsed(answer, {"classes": "[batch, labels]", "scores": "[batch, labels]"}, "classify")

    def _regress(self) -> Signature:
        return self._parsed(lambda logits, count: {"outputs": logits}, {"outputs": "[batch, 1]"}, "regress")
