"""Features to Parquet and nearest neighbours, against the encoder itself."""

import dataclasses

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest

from bert_tf.core.errors import InputError
from bert_tf.interop import huggingface
from bert_tf.models.model import make_model
from bert_tf.runs import extraction, nearest, prediction
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.wordpiece import Tokenizer

TEXTS = ["the cat sat", "", "dog " * 50, "un mat"]


@pytest.fixture
def model(small_config, vocabulary, tmp_path):
    keras.utils.set_random_seed(0)
    model = make_model(dataclasses.replace(small_config, vocab_size=len(vocabulary)), {"masked_lm": {}, "pair": {}})
    huggingface.save(
        str(tmp_path / "model"),
        model,
        vocabulary=vocabulary,
        tokenizer=TokenizerConfig(),
        max_seq_length=8,
    )
    return model


@pytest.mark.parametrize("pooling", ["mean", "cls", "none"])
def test_layers_are_the_encoders(model, vocabulary, tmp_path, pooling):
    path = str(tmp_path / "features.parquet")
    arguments = {"layers": [0, -1], "pooling": pooling, "max_seq_length": None}
    assert extraction.run(str(tmp_path / "model"), iter(TEXTS), path, **arguments) == 4
    table = pq.read_table(path).to_pydict()
    assert list(table) == ["text", "tokens", "layer_0", "layer_2"]
    assert table["text"] == TEXTS
    assert table["tokens"][:2] == [["[CLS]", "the", "cat", "sat", "[SEP]"], ["[CLS]", "[SEP]"]]
    assert [len(tokens) for tokens in table["tokens"]] == [5, 2, 8, 4]
    packed = Tokenizer(vocabulary).pack(TEXTS, max_seq_length=8)
    states = model.encoder(packed)["hidden_states"]
    for layer in (0, 2):
        for row, size in enumerate((5, 2, 8, 4)):
            expected = np.asarray(states[layer])[row, :size]
            if pooling != "none":
                expected = expected.mean(axis=0) if pooling == "mean" else expected[0]
            np.testing.assert_allclose(table[f"layer_{layer}"][row], expected, atol=1e-6)


def test_wrong_use_leaves_no_file(model, tmp_path):
    arguments = {"pooling": "mean", "max_seq_length": None}
    with pytest.raises(InputError, match=r"--layers: expected numbers in -3 to 2. Received: \[3\]."):
        extraction.run(str(tmp_path / "model"), TEXTS, str(tmp_path / "x.parquet"), layers=[3], **arguments)
    with pytest.raises(InputError, match=r"--layers: expected each layer once, of 2 blocks. Received: \[-1, 2\]."):
        extraction.run(str(tmp_path / "model"), TEXTS, str(tmp_path / "x.parquet"), layers=[-1, 2], **arguments)
    with pytest.raises(InputError, match="--max_seq_length 99: expected 3 to 16, the model's positions."):
        extraction.run(
            str(tmp_path / "model"), TEXTS, str(tmp_path / "x.parquet"), layers=[0], pooling="cls", max_seq_length=99
        )
    assert not list(tmp_path.glob("x.parquet*"))


def test_a_text_that_cannot_be_read_leaves_no_file(model, tmp_path):
    (tmp_path / "texts").write_bytes(b"cat\n" * 3000 + b"\xff\n")
    texts = prediction.read_texts(str(tmp_path / "texts"))
    with pytest.raises(InputError, match="line 3001: expected UTF-8"):
        extraction.run(
            str(tmp_path / "model"), texts, str(tmp_path / "x.parquet"), layers=[0], pooling="cls", max_seq_length=None
        )
    assert not list(tmp_path.glob("x.parquet*"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file/x.parquet: expected a file that can be written. Received: Not a direct"):
        extraction.run(
            str(tmp_path / "model"),
            TEXTS,
            str(tmp_path / "file/x.parquet"),
            layers=[0],
            pooling="cls",
            max_seq_length=None,
        )


def test_bytes_that_are_no_utf8_are_told_with_their_line(tmp_path):
    (tmp_path / "texts").write_bytes("eins\r\nzwölf\n".encode() * 5000 + b"\xff\n")
    texts = prediction.read_texts(str(tmp_path / "texts"), "--among")
    assert [next(texts), next(texts)] == ["eins", "zwölf"]
    with pytest.raises(InputError, match="--among .*texts: line 10001: expected UTF-8. Received other bytes."):
        list(texts)


def test_a_text_is_its_own_nearest_neighbour(model, tmp_path):
    among = ["the cat sat on the mat", "dog ran", "cat"]
    for answer, number in zip(nearest.run(str(tmp_path / "model"), among[::-1], among, top=2), (3, 2, 1), strict=True):
        assert [len(answer["neighbours"]), answer["neighbours"][0]["number"]] == [2, number]
        assert answer["neighbours"][0]["cosine"] == pytest.approx(1.0, abs=1e-5)
        assert answer["neighbours"][1]["cosine"] < answer["neighbours"][0]["cosine"]
    with pytest.raises(InputError, match="--among: expected at least one line of text. Received none."):
        nearest.run(str(tmp_path / "model"), among, [], top=2)
