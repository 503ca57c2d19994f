"""The functions that a SavedModel offers, by task."""

import keras
import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.tasks.task import Task
from bert_tf.tokenizer import Tokenizer

Signatures = dict[str, tf.types.experimental.PolymorphicFunction]


def signatures(task: Task, model: keras.Model, tokenizer: Tokenizer) -> Signatures:
    """{name: function} for a task's model.

    Raises:
      InputError: the task has none yet.
    """
    makers = {
        "classification": _classification,
        "multi_label": _multi_label,
        "regression": _regression,
        "embedding": _embedding,
    }
    if task.name not in makers:
        raise InputError(f"--model: expected a model of one of the tasks {', '.join(makers)}. Received: {task.name}.")
    return {"serving_default": makers[task.name](task, model, tokenizer)}


def _of_texts(task: Task, model: keras.Model, tokenizer: Tokenizer, answer):
    """A function of text, and second_text where the task has pairs, string [batch] each."""
    names = ["text"] if task.data.second_text_field is None or task.name == "embedding" else ["text", "second_text"]
    specs = {name: tf.TensorSpec([None], tf.string, name=name) for name in names}

    def serve(**texts):
        # Neither TF Serving nor a loaded signature checks the rank, and TF Text's kernels crash on a scalar. A reshape
        # alone is optimized away, since the graph believes its input to be a vector: the placeholder hides that.
        columns = [tf.reshape(tf.raw_ops.PlaceholderWithDefault(input=texts[name], shape=None), [-1]) for name in names]
        packed = tokenizer.pack(*columns, max_seq_length=task.data.max_seq_length)
        return answer(model(packed, training=False), tf.shape(columns[0])[0])

    # tf.function wants the names as parameters.
    if len(names) == 1:

        def serving_default(text):
            return serve(text=text)
    else:

        def serving_default(text, second_text):
            return serve(text=text, second_text=second_text)

    return tf.function(serving_default, input_signature=[specs[name] for name in names], autograph=False)


def _classification(task: Task, model: keras.Model, tokenizer: Tokenizer):
    """label string [batch], probabilities float32 [batch, classes], labels string [batch, classes]: their columns."""

    def answer(outputs, count):
        names = tf.constant(task.labels)
        return {
            "label": tf.gather(names, tf.argmax(outputs["logits"], axis=-1)),
            "probabilities": tf.nn.softmax(outputs["logits"]),
            "labels": tf.repeat(names[None], count, axis=0),
        }

    return _of_texts(task, model, tokenizer, answer)


def _multi_label(task: Task, model: keras.Model, tokenizer: Tokenizer):
    """probabilities float32 [batch, classes], labels string [batch, classes]: their columns."""

    def answer(outputs, count):
        labels = tf.repeat(tf.constant(task.labels)[None], count, axis=0)
        return {"probabilities": tf.sigmoid(outputs["logits"]), "labels": labels}

    return _of_texts(task, model, tokenizer, answer)


def _regression(task: Task, model: keras.Model, tokenizer: Tokenizer):
    """value float32 [batch]."""
    return _of_texts(task, model, tokenizer, lambda outputs, count: {"value": outputs["logits"][:, 0]})


def _embedding(task: Task, model: keras.Model, tokenizer: Tokenizer):
    """embedding float32 [batch, hidden]."""
    return _of_texts(task, model, tokenizer, lambda outputs, count: {"embedding": outputs["embedding"]})
