"""What an export must pass before it gets its name."""

import os

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from bert_tf.core.errors import InputError
from bert_tf.serving.export import gate, saved_model


class _Module(tf.Module):
    def __init__(self, body, **kwargs):
        super().__init__()
        self.serve = tf.function(body, input_signature=[tf.TensorSpec([None], tf.float32)], **kwargs)


@pytest.mark.parametrize(
    ("body", "kwargs", "message"),
    [
        (lambda x: x + tf.random.uniform([1]), {}, "Received RandomUniform "),
        (lambda x: tf.py_function(lambda y: y, [x], tf.float32), {}, "Received EagerPyFunc "),
        (lambda x: tf.tanh(x), {"jit_compile": True}, "need no compiler"),
    ],
)
def test_the_gate_refuses_what_a_server_may_lack(tmp_path, body, kwargs, message):
    module = _Module(body, **kwargs)
    outer = tf.function(lambda x: {"y": module.serve(x)}, input_signature=[tf.TensorSpec([None], tf.float32)])
    module.outer = outer
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": outer})
    with pytest.raises(InputError, match=message):
        gate.check_ops(str(tmp_path / "1"))


def test_the_gate_passes_a_graph_of_allowed_ops(tmp_path):
    module = _Module(lambda x: {"y": tf.tanh(x)})
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.serve})
    gate.check_ops(str(tmp_path / "1"))


def test_the_gate_compares_answers():
    asked = [("serving_default", {})]
    one, other = [{"y": np.array([1.0])}], [{"y": np.array([1.1])}]
    assert gate.check_answers(asked, one, one, tolerance=1e-5) == 0.0
    with pytest.raises(
        InputError, match="serving_default: y: expected what the Keras model gives. Received up to 9.1e-02"
    ):
        gate.check_answers(asked, one, other, tolerance=1e-5)
    with pytest.raises(InputError, match="up to nan"):
        gate.check_answers(asked, [{"y": np.array([np.nan])}], other, tolerance=1e-5)


def test_a_version_that_does_not_pass_leaves_nothing(exported, tmp_path):
    """A weight that is no number: what a fresh process answers is no number either."""
    source, broken = exported / "models/classification", tmp_path / "broken"
    broken.mkdir()
    for name in os.listdir(source):
        (broken / name).write_bytes((source / name).read_bytes())
    tensors = load_file(broken / "model.safetensors")
    tensors["classifier.bias"] = np.full_like(tensors["classifier.bias"], np.nan)
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(InputError, match="expected what the Keras model gives"):
        saved_model.export(str(broken), str(tmp_path / "out"))
    assert os.listdir(tmp_path / "out") == []
