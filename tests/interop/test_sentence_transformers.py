"""Every field of sentence-transformers' files is honoured, or refused by name."""

import json

import numpy as np
import pytest

from bert_tf.core.errors import InputError
from bert_tf.interop import huggingface, sentence_transformers
from bert_tf.interop.sentence_transformers import Pooling
from bert_tf.runs import conversion, nearest, prediction
from tests.interop.test_interop import built, saved

_NEW = "sentence_transformers"
_TYPES = (
    f"{_NEW}.base.modules.transformer.Transformer",
    f"{_NEW}.sentence_transformer.modules.pooling.Pooling",
    f"{_NEW}.base.modules.normalize.Normalize",
)
_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}


def described(path, *, types=_TYPES[:2], module=(), pooling=None, settings=None, prompts=None) -> str:
    """Writes the files as version 5.4 and later do."""
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": paths[i], "type": kind, **dict(module)} for i, kind in enumerate(types)
    ]
    (path / "1_Pooling").mkdir(parents=True, exist_ok=True)
    (path / "modules.json").write_text(json.dumps(modules))
    pooling = {"embedding_dimension": 8, "pooling_mode": "mean", "include_prompt": True} if pooling is None else pooling
    (path / "1_Pooling/config.json").write_text(json.dumps(pooling))
    told = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": _TEXT},
        "unpad_inputs": None,
        "module_output_name": "token_embeddings",
        "processing_kwargs": {},
    }
    (path / "sentence_bert_config.json").write_text(json.dumps(told | (settings or {})))
    version = {"__version__": {"sentence_transformers": "5.4.0"}, "model_type": "SentenceTransformer"}
    (path / "config_sentence_transformers.json").write_text(json.dumps(version | (prompts or {})))
    return str(path)


PROMPTS = {"prompts": {"query": "t1 t2 ", "document": ""}, "default_prompt_name": "query"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (Pooling("mean", False, "", ()), None)),
        ({"types": _TYPES}, (Pooling("mean", True), None)),
        ({"types": [f"{_NEW}.models.Transformer", f"{_NEW}.models.Pooling"]}, (Pooling("mean", False), None)),
        ({"module": {"kwargs": []}}, (Pooling("mean", False), None)),
        ({"pooling": {"pooling_mode": ["cls"]}}, (Pooling("cls", False), None)),
        ({"pooling": {"pooling_mode_cls_token": True, "word_embedding_dimension": 8}}, (Pooling("cls", False), None)),
        (
            {"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}},
            (Pooling("mean", False), None),
        ),
        ({"pooling": {}}, (Pooling("mean", False), None)),
        ({"pooling": {"include_prompt": False}}, (Pooling("mean", False), None)),
        ({"settings": {"max_seq_length": 9, "do_lower_case": False}}, (Pooling("mean", False), 9)),
        (
            {"prompts": {**PROMPTS, "similarity_fn_name": "dot"}},
            (Pooling("mean", False, "t1 t2 ", (("query", "t1 t2 "), ("document", "")), "dot"), None),
        ),
        (
            {"prompts": {"prompts": {"query": "t1 "}, "default_prompt_name": None, "truncate_dim": None}},
            (Pooling("mean", False, "", (("query", "t1 "),)), None),
        ),
    ],
)
def test_what_is_supported_is_honoured(tmp_path, changes, expected):
    assert sentence_transformers.read(described(tmp_path, **changes)) == expected


def _dense(kind: str) -> tuple:
    return (*_TYPES[:2], f"{_NEW}.base.modules.{kind}")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"types": _dense("dense.Dense")},
            "modules.json: expected Transformer, .* Received: Transformer, Pooling, Dense",
        ),
        ({"types": _dense("dropout.Dropout")}, "Received: Transformer, Pooling, Dropout"),
        ({"types": _TYPES[:1]}, "Received: Transformer."),
        ({"types": _TYPES[1::-1]}, "Received: Pooling, Transformer"),
        ({"types": ["custom_st.Transformer", _TYPES[1]]}, "Received: custom_st.Transformer"),
        ({"module": {"path": "0_Transformer"}}, "path: expected the model beside it. Received: '0_Transformer'"),
        ({"module": {"kwargs": ["task"]}}, r"kwargs: expected \[\]. Received: \['task'\]"),
        ({"module": {"foo": 1}}, "modules.json: foo: expected no such field"),
        *(
            ({"pooling": {"pooling_mode": mode}}, f"pooling_mode: expected mean or cls. Received: '{mode}'")
            for mode in ("max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
        ),
        ({"pooling": {"pooling_mode": ["mean", "max"]}}, r"pooling_mode: .* Received: \['mean', 'max'\]"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, r"pooling_mode: .* Received: \['max'\]|'max'"),
        ({"pooling": {"foo": 1}}, "1_Pooling/config.json: foo: expected no such field"),
        ({"pooling": {"include_prompt": False}, "prompts": PROMPTS}, "include_prompt: expected true"),
        ({"prompts": {"default_prompt_name": "query"}}, "default_prompt_name: expected one of .* Received: 'query'"),
        ({"prompts": {"truncate_dim": 4}}, "truncate_dim: expected None. Received: 4"),
        ({"prompts": {"similarity_fn_name": "maxsim"}}, "similarity_fn_name: expected None. Received: 'maxsim'"),
        ({"prompts": {"model_type": "SparseEncoder"}}, "model_type: expected 'SentenceTransformer'"),
        ({"prompts": {"foo": 1}}, "config_sentence_transformers.json: foo: expected no such field"),
        ({"settings": {"transformer_task": "fill-mask"}}, "transformer_task: expected 'feature-extraction'"),
        ({"settings": {"module_output_name": "scores"}}, "module_output_name: expected 'token_embeddings'"),
        ({"settings": {"modality_config": {"image": {}}}}, "modality_config: expected"),
        ({"settings": {"processing_kwargs": {"text": {"padding": 1}}}}, "processing_kwargs: expected {}"),
        ({"settings": {"query_length": 3}}, "query_length: expected None. Received: 3"),
        ({"settings": {"document_length": 3}}, "document_length: expected None"),
        ({"settings": {"query_expansion": {}}}, "query_expansion: expected None"),
        ({"settings": {"tokenizer_args": {"use_fast": 0}}}, "tokenizer_args: expected {}"),
        ({"settings": {"max_seq_length": "9"}}, "max_seq_length: expected a number of tokens. Received: '9'"),
        ({"settings": {"foo": 1}}, "sentence_bert_config.json: foo: expected no such field"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        sentence_transformers.read(described(tmp_path, **changes))


def test_lower_casing_before_the_tokenizer_is_refused_where_it_would_matter(tmp_path):
    path = described(tmp_path, settings={"do_lower_case": True})
    assert sentence_transformers.read(path, lower_case=True) == (Pooling("mean", False), None)
    with pytest.raises(InputError, match="do_lower_case: expected False. Received: True"):
        sentence_transformers.read(path, lower_case=False)


@pytest.mark.parametrize(("text", "sentence"), [("{", "expected JSON"), ('{"a": 1}', "expected a list of modules")])
def test_broken_modules_are_one_sentence(tmp_path, text, sentence):
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(InputError, match=f"modules.json: {sentence}. Received"):
        sentence_transformers.read(str(tmp_path))


def test_the_default_prompt_stands_before_every_text_and_is_kept(small_config, tmp_path):
    """What SentenceTransformer(path).encode does; checked by giving the prompt by hand to a model without one."""
    path = saved(tmp_path / "model", built(small_config, heads={}, with_pooler=True))
    plain = prediction.run(described(tmp_path / "model"), ["t1 t2 t3 t4"], task="embedding")[0]["embedding"]
    described(tmp_path / "model", prompts=PROMPTS)
    (found,) = prediction.run(path, ["t3 t4"], task="embedding")
    np.testing.assert_allclose(found["embedding"], plain, atol=1e-6)
    assert found["text"] == "t3 t4"
    conversion.run(path, str(tmp_path / "copy"))
    assert sentence_transformers.read(str(tmp_path / "copy"))[0] == sentence_transformers.read(path)[0]
    assert huggingface.open_directory(str(tmp_path / "copy"), "--model").architecture == "BertModel"
    np.testing.assert_allclose(
        prediction.run(str(tmp_path / "copy"), ["t3 t4"], task="embedding")[0]["embedding"], plain, atol=1e-6
    )


def test_neighbours_by_another_similarity_are_refused(small_config, tmp_path):
    path = saved(tmp_path / "model", built(small_config, heads={}, with_pooler=True))
    described(tmp_path / "model", prompts={"similarity_fn_name": "euclidean"})
    with pytest.raises(InputError, match="similarity_fn_name: expected cosine. Received: 'euclidean'"):
        nearest.run(path, ["t1"], ["t2", "t3"], top=1)
    described(tmp_path / "model", types=_TYPES, prompts={"similarity_fn_name": "dot"})
    assert nearest.run(path, ["t1"], ["t1", "t3"], top=1)[0]["neighbours"][0]["text"] == "t1"
