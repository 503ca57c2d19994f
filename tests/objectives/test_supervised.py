"""What heads learn from labelled examples, against NumPy's arithmetic on the same outputs."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf.objectives import losses
from bert_tf.objectives.supervised import Contrastive, Cosine, SeveralLabels, Spans, SquaredError, Supervised
from tests.support.training import OneStep, sums_of


class Given(keras.Model):
    """A model that gives what the batch holds under "given_" names."""

    def call(self, inputs, training=False):
        return {name.removeprefix("given_"): x for name, x in inputs.items() if name.startswith("given_")}


def sums(objective, outputs: dict, *, training: bool = False, **features):
    """The objective's sums for outputs of a model."""
    batch = {f"given_{name}": np.asarray(x, np.float32) for name, x in outputs.items()} | features
    found, given = sums_of(Given(), objective, batch, training=training)
    assert set(given) == set(outputs)
    assert set(found) == set(objective.metrics) >= set(objective.losses)
    assert objective.derived(dict.fromkeys(found, 1.0)) == {}
    totals = {name: float(x) for name, x in objective.denominators(batch).items()}
    # The mean that is reported is the one that is minimized.
    assert totals == {name: found[name][1] for name in objective.losses}
    return found


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


LOGITS = [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.5, 0.0]]


def test_one_class_for_each_row():
    labels, weights = np.array([0, 2, 1], np.int32), np.array([1.0, 0.5, 0.0], np.float32)
    found = sums(Supervised("classification_loss"), {"logits": LOGITS}, label_ids=labels, label_weights=weights)
    expected = -(log_softmax(LOGITS)[np.arange(3), labels] * weights).sum()
    assert found["classification_loss"] == (pytest.approx(expected), 1.5)
    assert found["accuracy"] == (1.0, 1.5)  # the second is wrong, the third does not count


def test_one_class_for_each_token_with_smoothing():
    logits = np.array([LOGITS, LOGITS[::-1]])
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.int32)
    weights = np.array([[1, 1, 0], [0, 1, 1]], np.float32)
    smoothing = np.array([0.3, 0.0], np.float32)
    found = sums(
        Supervised("tagging_loss"),
        {"logits": logits},
        label_ids=labels,
        label_weights=weights,
        label_smoothing=smoothing,
    )
    log_p, expected = log_softmax(logits), 0.0
    for row in range(2):
        for token in range(3):
            target = np.full(3, smoothing[row] / 3)
            target[labels[row, token]] += 1 - smoothing[row]
            expected -= weights[row, token] * (target * log_p[row, token]).sum()
    assert found["tagging_loss"] == (pytest.approx(expected, rel=1e-6), 4.0)
    assert found["accuracy"] == (4.0, 4.0)


def test_several_labels_at_once():
    logits, values = np.array([[2.0, -1.0], [0.5, 3.0]]), np.array([[1, 0], [0, 1]], np.float32)
    weights = np.array([1.0, 2.0], np.float32)
    found = sums(SeveralLabels("multi_label_loss"), {"logits": logits}, label_values=values, label_weights=weights)
    p = 1 / (1 + np.exp(-logits))
    each = -values * np.log(p) - (1 - values) * np.log(1 - p)
    assert found["multi_label_loss"] == (pytest.approx((each.mean(axis=1) * weights).sum(), rel=1e-6), 3.0)
    assert found["accuracy"] == (1.0 + 2 * 0.5, 3.0)


def test_positive_weights_count_where_a_label_is_given():
    """Formula of PyTorch's BCEWithLogitsLoss with pos_weight; the divisor stays the number of rows."""
    logits, values = np.array([[2.0, -1.0], [0.5, 3.0]]), np.array([[1, 0], [0, 1]], np.float32)
    objective = SeveralLabels("multi_label_loss").weighing_positives([5.0, 0.5])
    rows = {"label_values": values, "label_weights": np.ones(2, np.float32)}
    found = sums(objective, {"logits": logits}, training=True, **rows)
    p, weight = 1 / (1 + np.exp(-logits)), np.array([5.0, 0.5])
    each = -weight * values * np.log(p) - (1 - values) * np.log(1 - p)
    assert found["multi_label_loss"] == (pytest.approx(each.mean(axis=1).sum(), rel=1e-6), 2.0)
    # Evaluations have the loss without weights.
    plain = sums(SeveralLabels("multi_label_loss"), {"logits": logits}, **rows)
    assert sums(objective, {"logits": logits}, **rows) == plain != found


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_losses_by_hand(gamma):
    """(1 - p)^gamma (-log p), p of what is right; the divisor is the data's."""
    labels, weights = np.array([0, 2, 1], np.int32), np.array([1.0, 0.5, 0.0], np.float32)
    one = Supervised("loss").focal(gamma)
    rows = {"label_ids": labels, "label_weights": weights}
    found = sums(one, {"logits": LOGITS}, training=True, **rows)
    assert sums(one, {"logits": LOGITS}, **rows) == sums(Supervised("loss"), {"logits": LOGITS}, **rows) != found
    p = np.exp(log_softmax(LOGITS))[np.arange(3), labels]
    assert found["loss"] == (pytest.approx(((1 - p) ** gamma * -np.log(p) * weights).sum(), rel=1e-5), 1.5)
    logits, values = np.array([[2.0, -1.0], [0.5, 3.0]]), np.array([[1, 0], [0, 1]], np.float32)
    several = SeveralLabels("loss").focal(gamma)
    found = sums(several, {"logits": logits}, training=True, label_values=values, label_weights=np.ones(2, np.float32))
    p = 1 / (1 + np.exp(-logits))
    p = np.where(values > 0, p, 1 - p)
    assert found["loss"] == (pytest.approx(((1 - p) ** gamma * -np.log(p)).mean(axis=1).sum(), rel=1e-5), 2.0)
    assert Supervised("loss").focal_gamma == 0.0  # the original is what it was


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gradients_of_focal_losses_are_finite_where_p_rounds_to_0_and_1(gamma):
    logits = tf.constant([[200.0, -200.0], [-200.0, 200.0], [0.0, 0.0], [1.0, 3.0]])
    labels = tf.constant([0, 0, 1, 0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        several = losses.focal_cross_entropy(logits, labels, gamma)
        each = losses.binary_cross_entropy(logits, tf.one_hot(labels, 2), 3.0, gamma)
    for loss in (several, each):
        gradient = tape.gradient(loss, logits).numpy()
        assert np.isfinite(gradient).all() and np.isfinite(loss).all()
        assert gradient[0] == pytest.approx([0.0, 0.0], abs=1e-6)  # right and sure: nothing to learn
        assert gradient[1, 0] < -0.5  # wrong and sure: as much as without focus
    # Of two classes with equal logits: d/dz of (1 - p)^g (-log p) at p = 1/2 is -(1/2)^g (g log 2 / 2 + 1 / 2).
    expected = -(0.5**gamma) * (gamma * np.log(2) / 2 + 0.5)
    assert tape.gradient(several, logits).numpy()[2] == pytest.approx([-expected, expected], rel=1e-5)


@pytest.mark.parametrize(("pooling", "row"), [("mean", [1.0, 1.0]), ("max", [2.0, 3.0])])
def test_windows_of_an_example_are_pooled_and_padding_is_none(pooling, row):
    """Of three windows the third is padding; the second example has one window."""
    logits = np.array([[[2.0, -1.0], [0.0, 3.0], [9.0, 9.0]], [[0.5, 0.0], [9.0, -9.0], [9.0, -9.0]]])
    mask = np.array([[[1, 1], [1, 0], [0, 0]], [[1, 0], [0, 0], [0, 0]]], np.int32)
    labels, weights = np.array([1, 0], np.int32), np.array([1.0, 2.0], np.float32)
    objective = Supervised("loss", pooling=pooling)
    found = sums(objective, {"logits": logits}, label_ids=labels, label_weights=weights, input_mask=mask)
    log_p = log_softmax([row, [0.5, 0.0]])
    assert found["loss"] == (pytest.approx(-log_p[0, 1] - 2.0 * log_p[1, 0], rel=1e-6), 3.0)
    assert found["accuracy"] == ((0.0 if pooling == "mean" else 1.0) + 2.0, 3.0)
    values = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
    squared = SquaredError("loss", pooling=pooling)
    found = sums(squared, {"logits": logits}, label_values=values, label_weights=weights, input_mask=mask)
    expected = np.square(np.subtract(row, [1.0, 0.0])).mean() + 2.0 * 0.125
    assert found["loss"] == (pytest.approx(expected, rel=1e-6), 3.0)


def test_squared_error_has_no_accuracy():
    objective = SquaredError("regression_loss")
    values, weights = np.array([[1.0], [4.0]], np.float32), np.array([1.0, 3.0], np.float32)
    found = sums(objective, {"logits": [[3.0], [5.0]]}, label_values=values, label_weights=weights)
    assert found == {"regression_loss": (4.0 + 3 * 1.0, 4.0)}


def test_spans_minimize_the_mean_of_both_edges():
    start, end = np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([[0.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
    positions = {"start_positions": np.array([0, 1], np.int32), "end_positions": np.array([2, 1], np.int32)}
    weights = np.array([1.0, 0.5], np.float32)
    found = sums(Spans(), {"start_logits": start, "end_logits": end}, **positions, label_weights=weights)
    for edge, logits in (("start", start), ("end", end)):
        labels = positions[f"{edge}_positions"]
        expected = -(log_softmax(logits)[np.arange(2), labels] * weights).sum()
        assert found[f"{edge}_loss"] == (pytest.approx(expected, rel=1e-6), 3.0)
        hits = ((logits.argmax(-1) == labels) * weights).sum()
        assert found[f"{edge}_accuracy"] == (hits, 1.5)


def test_cosine_of_two_texts():
    embedding = np.array([[[3.0, 0.0], [3.0, 4.0]], [[1.0, 1.0], [-2.0, -2.0]], [[0.0, 0.0], [1.0, 0.0]]])
    values, weights = np.array([1.0, 0.5, 0.25], np.float32), np.array([1.0, 2.0, 4.0], np.float32)
    found = sums(Cosine(), {"embedding": embedding}, label_values=values, label_weights=weights)
    # Cosines 0.6, -1 and, of a vector of zeros, 0.
    expected = (0.6 - 1) ** 2 + 2 * (-1 - 0.5) ** 2 + 4 * 0.25**2
    assert found == {"embedding_loss": (pytest.approx(expected, rel=1e-6), 7.0)}


def test_contrastive_finds_its_second_text_within_its_group():
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(6, 2, 4))
    weights = np.array([1, 1, 1, 1, 1, 0], np.float32)  # the last row fills the batch up
    found = sums(Contrastive(group=3, scale=5.0), {"embedding": embedding}, label_weights=weights)
    unit, expected = embedding / np.linalg.norm(embedding, axis=-1, keepdims=True), 0.0
    for group in (range(3), range(3, 5)):  # what fills up is nobody's choice
        scores = 5.0 * unit[list(group), 0] @ unit[list(group), 1].T
        expected -= log_softmax(scores)[np.arange(len(group)), np.arange(len(group))].sum()
    assert found == {"embedding_loss": (pytest.approx(expected, rel=1e-5), 5.0)}


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("objective", [Supervised("classification_loss"), Supervised("classification_loss").focal(2.0)])
def test_gradients_are_those_of_the_weighted_mean(small_config, pretraining_batch, microbatches, objective):
    """Rows of weight 0 and microbatches change nothing: sums are divided by the weights of the whole batch."""
    from bert_tf.models.model import INPUTS, make_model

    config = dataclasses.replace(small_config, num_hidden_layers=1)
    model = make_model(config, {"sequence": {"units": 3, "dropout": 0.0}})
    batch = {name: pretraining_batch[name] for name in INPUTS}
    batch |= {"label_ids": np.arange(8, dtype=np.int32) % 3, "label_weights": (np.arange(8) < 5).astype(np.float32)}
    found, metrics = OneStep(model, objective, microbatches=microbatches).gradients(batch)
    alone, expected = OneStep(model, objective).gradients({name: x[:5] for name, x in batch.items()})
    np.testing.assert_allclose(metrics, expected, rtol=1e-5)
    for a, b in zip(found, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
