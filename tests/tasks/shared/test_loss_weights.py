"""Weights of labels in a task's loss, by hand and from the training data's counts."""

import numpy as np
import pytest

from bert_tf.core import config_io
from bert_tf.core.config import TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.tasks.classification import Classification, ClassificationConfig
from bert_tf.tasks.multi_label import MultiLabel
from bert_tf.tasks.regression import Regression
from bert_tf.tasks.shared.loss_weights import objective_of, weighed
from bert_tf.tasks.token_classification import TokenClassification

THREE = Classification(labels=["a", "b", "c=d"])
TWO = MultiLabel(labels=["x", "y"])
ARRAYS = {"label_ids": np.array([0, 0, 0, 2], np.int32), "label_weights": np.ones(4, np.float32)}


def weights_of(**tuning) -> list[float]:
    return weighed(THREE, TuningConfig(**tuning), ARRAYS)["label_weights"].tolist()


def test_balanced_weights_keep_their_sum_where_a_class_has_no_example():
    assert weights_of(class_weights="balanced") == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])


def test_weights_are_read_from_the_command_line():
    config = config_io.override(ClassificationConfig(), ["tuning.label_weights=yes=5,no=0.5"])
    assert config.tuning.label_weights == ("yes=5", "no=0.5")


def test_weights_by_hand_are_of_their_labels_and_1_for_the_others():
    assert weights_of(label_weights=("c=d=2.5",)) == [1.0, 1.0, 1.0, 2.5]
    assert weights_of(label_weights=("a=0.5", "b=9")) == [0.5, 0.5, 0.5, 1.0]
    assert weights_of() == [1.0] * 4
    # A token that has no label stays without.
    masked = ARRAYS | {"label_weights": np.array([1, 0, 1, 0], np.float32)}
    found = weighed(THREE, TuningConfig(label_weights=("a=3",)), masked)
    assert found["label_weights"].tolist() == [3.0, 0.0, 3.0, 0.0]


@pytest.mark.parametrize("item", ["d=2", "a", "a=", "a=much", "a=0", "a=-1", "a=inf", "a=nan"])
def test_a_weight_that_is_none_is_named(item):
    with pytest.raises(InputError, match=f"tuning.label_weights: expected LABEL=WEIGHT.*a, b, c=d. Received: {item}"):
        weights_of(label_weights=(item,))
    with pytest.raises(InputError, match="Received: a=3"):
        weights_of(label_weights=("a=2", "a=3"))


def test_balanced_positives_count_as_much_as_the_others():
    # x: one of four has it, y: all have it.
    arrays = {"label_values": np.array([[1, 1], [0, 1], [0, 1], [0, 1]], np.float32)}
    balanced = objective_of(TWO, TuningConfig(positive_weights=("balanced",)), arrays)
    assert balanced.positive_weights == (3.0, 1.0)
    by_hand = objective_of(TWO, TuningConfig(positive_weights=("y=2",), focal_gamma=2.0), arrays)
    assert (by_hand.positive_weights, by_hand.focal_gamma) == ((1.0, 2.0), 2.0)
    assert objective_of(TWO, TuningConfig()).positive_weights is None


def test_a_loss_that_has_no_use_for_a_field_refuses_it():
    for field, value in {"label_weights": ("x=2",), "class_weights": "balanced", "label_smoothing": 0.1}.items():
        with pytest.raises(InputError, match=rf"tuning.{field}=.*: expected task=classification or token_classificat"):
            weighed(TWO, TuningConfig(**{field: value}), {})
    with pytest.raises(InputError, match=r"tuning.focal_gamma=2.0: expected task=.*multi_label. Received: regression"):
        objective_of(Regression(), TuningConfig(focal_gamma=2.0))
    with pytest.raises(InputError, match="expected task=multi_label. Received: classification"):
        objective_of(THREE, TuningConfig(positive_weights=("a=2",)))
    with pytest.raises(InputError, match="tuning.label_weights must be empty with tuning.class_weights=balanced"):
        TuningConfig(label_weights=("a=2",), class_weights="balanced")
    with pytest.raises(InputError, match="tuning.focal_gamma must be 0 with tuning.label_smoothing"):
        TuningConfig(focal_gamma=2.0, label_smoothing=0.1)


def test_words_without_a_tag_stay_without_weight():
    task = TokenClassification(labels=["O", "B-X"])
    arrays = {"label_ids": np.array([[0, 0, 1]], np.int32), "label_weights": np.array([[1, 0, 1]], np.float32)}
    found = weighed(task, TuningConfig(class_weights="balanced", label_smoothing=0.1), arrays)
    np.testing.assert_allclose(found["label_weights"], [[1, 0, 1]])
    assert found["label_smoothing"].tolist() == [np.float32(0.1)]
