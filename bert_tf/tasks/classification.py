"""Single-label classification of texts: examples, head, loss, metrics, serving signature (Devlin et al. 2018, 4.1)."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from sklearn import metrics

from bert_tf.config import BertConfig, FinetuneDataConfig
from bert_tf.errors import InputError
from bert_tf.modeling import flops
from bert_tf.modeling.encoder import BertEncoder
from bert_tf.modeling.layers import dense
from bert_tf.modeling.losses import correct, cross_entropy
from bert_tf.tasks.tables import read_columns
from bert_tf.tokenizer import Tokenizer

ARCHITECTURE = "BertForSequenceClassification"


def read_examples(data: FinetuneDataConfig, split: str) -> tuple[list[str], list[str]]:
    """Texts and label names of data.train or data.validation."""
    texts, labels = read_columns(getattr(data, split), (data.text_field, data.label_field), f"data.{split}")
    return texts, labels


def label_names(labels: Sequence[str], field: str) -> list[str]:
    """The classes, sorted, so that their ids do not depend on the order of the examples."""
    names = sorted(set(labels))
    if len(names) < 2:
        raise InputError(f"{field}: expected at least two different labels. Received only {names[0]!r}.")
    return names


def features(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    names: Sequence[str],
    tokenizer: Tokenizer,
    max_seq_length: int,
    field: str,
) -> dict[str, np.ndarray]:
    """Examples as arrays.

    Returns:
      input_word_ids, input_mask and input_type_ids int32 [n, max_seq_length], label_ids int32 [n] and label_weights
      float32 [n].

    Raises:
      InputError: a label that training has not seen.
    """
    ids = {name: index for index, name in enumerate(names)}
    for number, label in enumerate(labels, start=1):
        if label not in ids:
            raise InputError(f"{field}: example {number}: expected a label of {', '.join(names)}. Received: {label!r}.")
    packed = tokenizer.pack(tf.constant(list(texts)), max_seq_length=max_seq_length)
    return {
        **{name: x.numpy() for name, x in packed.items()},
        "label_ids": np.array([ids[label] for label in labels], np.int32),
        "label_weights": np.ones(len(labels), np.float32),
    }


class BertForSequenceClassification(keras.Model):
    """Pooled output, dropout, one dense layer.

    Call with input_word_ids, input_mask and input_type_ids, int32 [batch, length].

    Returns:
      {"logits": float32 [batch, classes]}.
    """

    metric_names = ("classification_loss", "accuracy")

    def __init__(self, config: BertConfig, *, num_labels: int, dropout: float = 0.1, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.encoder = BertEncoder(config, dtype=self.dtype_policy)
        self.dropout = keras.layers.Dropout(dropout, name="classifier_dropout", dtype=self.dtype_policy)
        self.classifier = dense(config, num_labels, "classifier", self.dtype_policy)

    def build(self, input_shape=None):
        self.encoder.build()
        self.classifier.build((None, self.config.hidden_size))
        self.built = True

    def call(self, inputs, training=False):
        pooled = self.encoder(inputs, training=training)["pooled_output"]
        return {"logits": ops.cast(self.classifier(self.dropout(pooled, training=training)), "float32")}

    def forward_flops(self, shapes):
        """Floating-point operations of the encoder's matrix products for a batch, {name: shape}."""
        rows, length = shapes["input_word_ids"]
        return flops.encoder(self.config, rows=rows, length=length)

    def derived_metrics(self, means):
        """None beside the means."""
        return {}

    def loss_weights(self, batch):
        """{name: scalar}, see BertForPreTraining."""
        return {"classification_loss": ops.sum(batch["label_weights"])}

    def loss_sums(self, outputs, batch):
        """{name: scalar}, see BertForPreTraining."""
        loss = cross_entropy(outputs["logits"], batch["label_ids"])
        return {"classification_loss": ops.sum(loss * batch["label_weights"])}

    def metric_sums(self, outputs, batch):
        """{name: (sum, weight)}, see BertForPreTraining."""
        hits = correct(outputs["logits"], batch["label_ids"])
        return {"accuracy": (ops.sum(hits * batch["label_weights"]), ops.sum(batch["label_weights"]))}


def make_model(config: BertConfig, labels: Sequence[str], **kwargs) -> BertForSequenceClassification:
    """The built model for these labels."""
    model = BertForSequenceClassification(config, num_labels=len(labels), **kwargs)
    model.build()
    return model


def signatures(
    model: BertForSequenceClassification, tokenizer: Tokenizer, *, labels: Sequence[str], max_seq_length: int
) -> dict[str, tf.types.experimental.PolymorphicFunction]:
    """The functions that a SavedModel offers.

    serving_default: text, string [batch] -> label string [batch], probabilities float32 [batch, classes], and labels
    string [batch, classes], which names the columns of probabilities.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def serving_default(text):
        # Neither TF Serving nor a loaded signature checks the rank, and TF Text's kernels crash on a scalar. A reshape
        # alone is optimized away, since the graph believes its input to be a vector: the placeholder hides that.
        text = tf.reshape(tf.raw_ops.PlaceholderWithDefault(input=text, shape=None), [-1])
        logits = model(tokenizer.pack(text, max_seq_length=max_seq_length), training=False)["logits"]
        names = tf.constant(list(labels))
        return {
            "label": tf.gather(names, tf.argmax(logits, axis=-1)),
            "probabilities": tf.nn.softmax(logits),
            "labels": tf.repeat(names[None], tf.shape(text)[0], axis=0),
        }

    return {"serving_default": serving_default}


def predict(serving_default, texts: Sequence[str], *, batch_size: int = 64) -> list[dict]:
    """[{"text", "label", "probabilities": {label: float}}] of every text, in batches."""
    predictions = []
    for start in range(0, len(texts), batch_size):
        batch = list(texts[start : start + batch_size])
        answers = {name: x.numpy() for name, x in serving_default(tf.constant(batch)).items()}
        for text, label, names, row in zip(
            batch, *(answers[k] for k in ("label", "labels", "probabilities")), strict=True
        ):
            scores = {name.decode(): round(float(p), 6) for name, p in zip(names, row, strict=True)}
            predictions.append({"text": text, "label": label.decode(), "probabilities": scores})
    return predictions


def scores(labels: Sequence[str], predicted: Sequence[str], *, majority: str) -> dict[str, float]:
    """Held-out scores, beside what the commonest label of training would reach.

    Args:
      labels: the truth.
      predicted: the model's labels.
      majority: the commonest label in training.
    """
    return {
        "examples": len(labels),
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "macro_f1": float(metrics.f1_score(labels, predicted, average="macro", zero_division=0)),
        "majority_baseline": float(metrics.accuracy_score(labels, [majority] * len(labels))),
    }
