"""What cannot be answered is refused in one sentence that says what is wrong."""

import dataclasses

import pytest
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.runs import prediction
from bert_tf.serving import loading
from bert_tf.serving.export import saved_model
from bert_tf.serving.export.signatures import signatures
from bert_tf.serving.server.errors import RequestError
from bert_tf.serving.server.version import Version
from tests.interop.test_interop import built, saved

HEADS = {"sequence": {"units": 2}}


def classifier(config, path, **data) -> str:
    told = {"task": "classification", "data": {"max_seq_length": 12, **data}, "head": {}}
    return saved(path, built(config, heads=HEADS), labels=["no", "yes"], task_settings=told)


def test_pairs_for_a_model_of_one_segment_type(small_config, tmp_path):
    config = dataclasses.replace(small_config, type_vocab_size=1)
    path = classifier(config, tmp_path / "pairs", second_text_field="second_text")
    sentence = "pairs: expected a model for pairs of texts, with type_vocab_size 2. Received one with 1."
    with pytest.raises(InputError, match=sentence):
        prediction.run(path, [{"place": "x", "text": "t1", "second_text": "t2"}])
    with pytest.raises(InputError, match=sentence):
        saved_model.export(path, str(tmp_path / "served"))
    assert not (tmp_path / "served").exists()
    (answer,) = prediction.run(classifier(config, tmp_path / "single"), ["t1"])
    assert answer["label"] in ("no", "yes")


def test_a_wrong_feature_of_an_example_is_named(small_config, tmp_path):
    loaded = loading.load(classifier(small_config, tmp_path / "model"))
    made = signatures(loaded.task, loaded.model, loaded.graph.tokenizer)
    module = tf.Module()
    module.model, module.tokenizer = loaded.model, loaded.graph.tokenizer
    names = ("serving_default", "classify")
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={name: made[name].function for name in names})
    version = Version(str(tmp_path / "1"))

    def classify(**features):
        kinds = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[x])) for name, x in features.items()}
        example = tf.train.Example(features=tf.train.Features(feature=kinds))
        return version.run("classify", {"inputs": tf.constant([example.SerializeToString()]).numpy()})

    assert classify(text=b"t1")["classes"].tolist() == [[b"no", b"yes"]]
    with pytest.raises(RequestError, match=r"Feature: text \(data type: string\) is required but could not be found"):
        classify(words=b"t1")
