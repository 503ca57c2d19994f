"""Google's TF1 checkpoints become model directories."""

import numpy as np
import pytest

from bert_tf.core.errors import InputError
from bert_tf.interop import google, huggingface
from bert_tf.models.family import records
from bert_tf.models.model import make_model
from bert_tf.runs import conversion
from tests.interop.test_interop import PRETRAINING, built, weights_of
from tests.support.google_checkpoint import VOCABULARY, write_google_checkpoint


def test_google_checkpoint_converts_to_the_same_numbers(small_config, tmp_path):
    model = built(small_config)
    (tmp_path / "google").mkdir()
    write_google_checkpoint(tmp_path / "google", small_config, model)
    assert conversion.run(str(tmp_path / "google"), str(tmp_path / "ours")) == "46 weights loaded"
    directory = huggingface.open_directory(str(tmp_path / "ours"), "--model")
    # Google computes "gelu" in its tanh form.
    assert directory.config.hidden_act == "gelu_new"
    assert directory.tokenizer.lower_case
    other = make_model(directory.config, PRETRAINING)
    huggingface.load_weights(directory.path, other)
    for ours, theirs in zip(records(model), records(other), strict=True):
        np.testing.assert_array_equal(np.asarray(ours.variable), np.asarray(theirs.variable), err_msg=ours.name)


def test_google_folder_without_checkpoint_is_one_clear_sentence(small_config, tmp_path):
    (tmp_path / "bert_config.json").write_text("{}")
    (tmp_path / "vocab.txt").write_bytes(VOCABULARY.serialize())
    with pytest.raises(InputError, match="expected bert_model.ckpt.index beside bert_config.json"):
        google.load_weights(str(tmp_path), built(small_config))


def test_latest_step_of_a_training_folder_is_taken(small_config, tmp_path):
    for step in (9000, 10_000):
        folder = tmp_path / str(step)
        folder.mkdir()
        write_google_checkpoint(folder, small_config, built(small_config, seed=step))
        for path in folder.iterdir():
            path.rename(tmp_path / path.name.replace("bert_model.ckpt", f"model.ckpt-{step}"))
    other = built(small_config)
    google.load_weights(str(tmp_path), other)
    for a, b in zip(weights_of(other), weights_of(built(small_config, seed=10_000)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("architecture", "heads", "labels"),
    [
        ("BertForSequenceClassification", {"sequence": {"units": 3}}, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ("BertForQuestionAnswering", {"spans": {}}, []),
        ("BertForMaskedLM", {"masked_lm": {}}, []),
        ("BertModel", {}, []),
    ],
)
def test_a_checkpoint_converts_with_the_head_that_it_has(small_config, tmp_path, architecture, heads, labels):
    """As run_classifier.py (output_weights) and run_squad.py (cls/squad/output_weights) write theirs."""
    model = built(small_config, heads=heads, with_pooler=True)
    (tmp_path / "google").mkdir()
    write_google_checkpoint(tmp_path / "google", small_config, model)
    report = conversion.run(str(tmp_path / "google"), str(tmp_path / "ours"))
    # transformers' classes for these have no pooler, which Google's scripts save all the same.
    is_pooled = architecture in ("BertForSequenceClassification", "BertModel")
    expected = [record for record in records(model) if is_pooled or record.part != "pooler"]
    unused = "" if is_pooled else ", unused: bert/pooler/dense/bias, bert/pooler/dense/kernel"
    assert report == f"{len(expected)} weights loaded{unused}"
    directory = huggingface.open_directory(str(tmp_path / "ours"), "--model")
    assert (directory.architecture, directory.labels) == (architecture, labels)
    other = make_model(directory.config, heads, with_pooler=directory.has_pooler)
    huggingface.load_all_weights(directory.path, other)
    found = {record.name: np.asarray(record.variable) for record in records(other)}
    assert set(found) == {record.name for record in expected}
    for record in expected:
        np.testing.assert_array_equal(found[record.name], np.asarray(record.variable), err_msg=record.name)
