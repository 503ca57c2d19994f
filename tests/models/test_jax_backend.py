"""The model is keras.ops only: on Keras' JAX backend it computes what it computes on TensorFlow."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from bert_tf.interop import huggingface
from bert_tf.models import heads
from bert_tf.models.bert.config import BertConfig
from bert_tf.objectives.masked_lm import BertForPreTraining
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary

_ON_JAX = """
import sys
import keras
import numpy as np
from bert_tf.interop import huggingface
from bert_tf.models import heads
from bert_tf.objectives import masked_lm as pretraining

assert keras.backend.backend() == "jax"
folder = sys.argv[1]
batch = dict(np.load(f"{folder}/batch.npz"))
found = {}
for name, arguments in MODELS.items():
    directory = huggingface.open_directory(f"{folder}/{name}", "model")
    model = getattr(heads, name, None) or getattr(pretraining, name)
    model = model(directory.config, **arguments)
    model.build()
    huggingface.load_all_weights(directory.path, model)
    found |= {f"{name}_{key}": np.asarray(value) for key, value in model(batch).items()}
    found |= {f"{name}_{key}": np.asarray(value) for key, value in model.encoder(batch).items()}
    if name == "BertForPreTraining":
        found |= {key: np.asarray(value) for key, value in model.loss_sums(model(batch), batch).items()}
np.savez(f"{folder}/jax.npz", **found)
"""


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_outputs_are_those_of_tensorflow(pretraining_batch, tmp_path, packed):
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=16,
        initializer_range=0.3,
    )
    batch = dict(pretraining_batch)
    if packed:
        half = np.arange(16) >= 6
        batch["sequence_ids"] = np.where(batch["input_mask"] == 1, 1 + half, 0).astype(np.int32)
        batch["position_ids"] = np.where(half, np.arange(16) - 6, np.arange(16)).astype(np.int32)
        batch["next_sentence_positions"] = np.tile(np.array([0, 6], np.int32), (8, 1))
        batch["next_sentence_labels"] = np.tile(batch["next_sentence_labels"], (1, 2))
        batch["next_sentence_weights"] = np.ones((8, 2), np.float32)
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *(f"w{i}" for i in range(45))))
    pretraining = BertForPreTraining(config)
    pretraining.build()
    arguments = {
        "BertForSequenceClassification": {"num_labels": 3},
        "BertForTokenClassification": {"num_labels": 3},
        "BertForQuestionAnswering": {},
        "BertForEmbedding": {"pooling": "mean"},
    }
    if packed:  # a packed row has no one label
        arguments = {}
    models = {"BertForPreTraining": pretraining}
    for name, settings in arguments.items():
        models[name] = getattr(heads, name)(config, **settings)
        models[name].build()
    expected = {}
    for name, model in models.items():
        huggingface.save(
            str(tmp_path / name),
            model,
            architecture=name,
            vocabulary=vocabulary,
            tokenizer=TokenizerConfig(),
            max_seq_length=16,
        )
        expected |= {f"{name}_{key}": np.asarray(value) for key, value in model(batch).items()}
        expected |= {f"{name}_{key}": np.asarray(value) for key, value in model.encoder(batch).items()}
    expected |= {key: np.asarray(v) for key, v in pretraining.loss_sums(pretraining(batch), batch).items()}
    np.savez(tmp_path / "batch.npz", **batch)
    script = _ON_JAX.replace("MODELS", repr({"BertForPreTraining": {}, **arguments}))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=pathlib.Path(__file__).parents[2],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "jax.npz") as found:
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
