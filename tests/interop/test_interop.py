import dataclasses
import json

import keras
import numpy as np
import pytest
import tokenizers
from safetensors.numpy import load_file, save_file
from tokenizers import models, normalizers, pre_tokenizers, processors

from bert_tf.core.config import TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import adapters, huggingface
from bert_tf.interop.source import open_source
from bert_tf.models import tuning
from bert_tf.models.family import architecture_of, family_of, records
from bert_tf.models.model import make_model
from bert_tf.runs import conversion
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary
from tests.support.google_checkpoint import VOCABULARY, write_google_checkpoint

PRETRAINING = {"masked_lm": {}, "pair": {}}


def built(config, seed=0, heads=PRETRAINING, **kwargs):
    keras.utils.set_random_seed(seed)
    model = make_model(config, heads, **kwargs)
    for variable in model.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, seed=seed))
    return model


def saved(path, model, **changes) -> str:
    arguments = {
        "vocabulary": VOCABULARY,
        "tokenizer": TokenizerConfig(lower_case=False),
        "max_seq_length": 12,
    }
    huggingface.save(str(path), model, **{**arguments, **changes})
    return str(path)


def weights_of(model) -> list[np.ndarray]:
    return [np.asarray(v) for v in model.trainable_variables]


def test_round_trip_is_bit_identical(small_config, tmp_path):
    model, other = built(small_config), built(small_config, seed=1)
    path = saved(tmp_path / "model", model)
    directory = huggingface.open_directory(path, "--model")
    assert directory.config == small_config
    assert (directory.tokenizer, directory.max_seq_length) == (TokenizerConfig(lower_case=False), 12)
    assert directory.vocabulary == VOCABULARY
    assert str(huggingface.load_weights(path, other)) == "46 weights loaded"
    for a, b in zip(weights_of(model), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_names_and_shapes_are_hugging_faces(small_config, tmp_path):
    path = saved(tmp_path / "model", built(small_config))
    tensors = load_file(f"{path}/model.safetensors")
    # A dense layer from width 8 to 16 is stored [out, in] there.
    assert tensors["bert.encoder.layer.1.intermediate.dense.weight"].shape == (16, 8)
    assert tensors["bert.encoder.layer.0.attention.self.query.bias"].shape == (8,)
    assert tensors["cls.seq_relationship.weight"].shape == (2, 8)
    assert tensors["cls.predictions.bias"].shape == (50,)
    assert tensors["bert.embeddings.LayerNorm.weight"].shape == (8,)
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    assert settings["architectures"] == ["BertForPreTraining"]
    assert settings["model_type"] == "bert"
    tokenizer = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert tokenizer["do_lower_case"] is False
    assert tokenizer["mask_token"] == "[MASK]"


def test_encoder_saved_without_prefix_and_with_old_names_loads(small_config, tmp_path):
    model, other = built(small_config), built(small_config, seed=1)
    path = saved(tmp_path / "model", model)
    tensors = {
        name.removeprefix("bert.")
        .replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): x
        for name, x in load_file(f"{path}/model.safetensors").items()
        if name.startswith("bert.")
    }
    save_file({**tensors, "embeddings.position_ids": np.arange(16)}, f"{path}/model.safetensors")
    report = huggingface.load_weights(path, other)
    assert len(report.loaded) == 39
    assert report.unused == []
    assert len(report.fresh) == 7
    assert all(name.startswith("cls.") for name in report.fresh)
    np.testing.assert_array_equal(
        np.asarray(model.encoder.blocks[1].output_norm.beta), np.asarray(other.encoder.blocks[1].output_norm.beta)
    )


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda p: (p / "model.safetensors").unlink(), "Received one without model.safetensors"),
        (lambda p: (p / "config.json").unlink(), "Received one without config.json"),
        (lambda p: (p / "vocab.txt").unlink(), "Received one without vocab.txt"),
        (lambda p: (p / "config.json").write_text("{"), "config.json: expected JSON"),
        (
            lambda p: (p / "config.json").write_text('{"model_type": "gpt2"}'),
            "expected model_type 'bert'. Received: 'gpt2'",
        ),
        (lambda p: (p / "config.json").write_text('{"hidden_act": "relu"}'), "expected hidden_act gelu or gelu_new"),
        (
            lambda p: (p / "config.json").write_text('{"vocab_size": 3}'),
            "expected a vocabulary of at most vocab_size = 3",
        ),
        (lambda p: (p / "model.safetensors").write_bytes(b"123"), "expected weights in safetensors format"),
        (
            lambda p: save_file({"x": np.zeros(1)}, p / "model.safetensors"),
            "expected the weights of an encoder of model_type 'bert'",
        ),
        (
            lambda p: save_file({"bert.pooler.dense.bias": np.zeros(3)}, p / "model.safetensors"),
            r"bert.pooler.dense.bias: expected shape \(8,\), as .* Received: \(3,\)",
        ),
    ],
)
def test_damaged_directory_is_one_clear_sentence(small_config, tmp_path, damage, sentence):
    path = saved(tmp_path / "model", built(small_config))
    damage(tmp_path / "model")
    with pytest.raises(InputError, match=sentence):
        huggingface.open_directory(path, "--model")
        huggingface.load_weights(path, built(small_config))


def test_the_tokenizers_settings_come_along(small_config, tmp_path):
    settings = TokenizerConfig(
        lower_case=True, strip_accents=False, max_word_length=50, split_cjk=False, rules="huggingface"
    )
    path = saved(tmp_path / "model", built(small_config), tokenizer=settings)
    assert huggingface.open_directory(path, "--model").tokenizer == settings
    conversion.run(path, str(tmp_path / "copy"))
    assert huggingface.open_directory(str(tmp_path / "copy"), "--model").tokenizer == settings
    # What transformers writes, which knows no other rules than its own.
    file = tmp_path / "model/tokenizer_config.json"
    file.write_text(json.dumps({"do_lower_case": False, "model_max_length": 1000000000000000019884624838656}))
    directory = huggingface.open_directory(path, "--model")
    assert directory.tokenizer == TokenizerConfig(lower_case=False, rules="huggingface")
    assert directory.max_seq_length == 16
    file.write_text(json.dumps({"do_lower_case": "yes"}))
    with pytest.raises(InputError, match="tokenizer_config.json: lower_case: expected bool. Received: 'yes'."):
        huggingface.open_directory(path, "--model")
    file.unlink()


def test_a_pickle_is_refused_with_the_way_out(small_config, tmp_path):
    path = saved(tmp_path / "model", built(small_config))
    (tmp_path / "model/model.safetensors").rename(tmp_path / "model/pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin, a pickle, which can run any program .*save_pretrained"):
        huggingface.open_directory(path, "init_from")


def test_weights_in_several_files_load(small_config, tmp_path):
    model, other = built(small_config), built(small_config, seed=1)
    path = saved(tmp_path / "model", model)
    tensors = load_file(f"{path}/model.safetensors")
    (tmp_path / "model/model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, f"{path}/{file}")
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps(index))
    assert str(open_source(path, "init_from").load_weights(other)) == "46 weights loaded"
    for a, b in zip(weights_of(model), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_source_is_told_apart_by_what_it_holds(small_config, tmp_path):
    model = built(small_config)
    saved(tmp_path / "run/model", model)
    (tmp_path / "run/config.json").write_text('{"train": {}, "optimizer": {}}')
    (tmp_path / "google").mkdir()
    write_google_checkpoint(tmp_path / "google", small_config, model)
    for name in ("run", "run/model", "google"):
        other = built(small_config, seed=1)
        assert str(open_source(str(tmp_path / name), "init_from").load_weights(other)) == "46 weights loaded"
        for a, b in zip(weights_of(model), weights_of(other), strict=True):
            np.testing.assert_array_equal(a, b)
    (tmp_path / "run/model").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="run: expected a finished run. Received a workdir without model/."):
        open_source(str(tmp_path / "run"), "init_from")
    with pytest.raises(InputError, match="init_from none: expected the folder of a model"):
        open_source("none", "init_from")


def test_weights_of_another_shape_are_named_with_both_shapes(small_config, tmp_path):
    path = saved(tmp_path / "model", built(small_config))
    other = make_model(dataclasses.replace(small_config, intermediate_size=32), PRETRAINING)
    with pytest.raises(InputError, match=r"dense.weight: expected shape \(8, 32\), .* Received: \(8, 16\)"):
        open_source(path, "init_from").load_weights(other)


@pytest.mark.parametrize(
    ("architecture", "heads", "arguments", "labels"),
    [
        ("BertModel", {}, {"with_pooler": True}, None),
        ("BertModel", {}, {"with_pooler": False}, None),
        ("BertModel", {}, {"with_pooler": True, "adapter_size": 3}, None),
        ("BertModel", {"embedding": {}}, {}, None),
        ("BertForPreTraining", PRETRAINING, {}, None),
        ("BertForMaskedLM", {"masked_lm": {}}, {}, None),
        ("BertForNextSentencePrediction", {"pair": {}}, {}, None),
        ("BertForSequenceClassification", {"sequence": {"units": 3}}, {}, ["a", "b", "ü"]),
        ("BertForTokenClassification", {"tokens": {"units": 2}}, {}, ["O", "B-X"]),
        ("BertForQuestionAnswering", {"spans": {}}, {}, None),
        ("BertForMultipleChoice", {"choices": {}}, {}, None),
    ],
)
def test_every_head_converts_to_the_same_bits(small_config, tmp_path, architecture, heads, arguments, labels):
    model = built(small_config, heads=heads, **arguments)
    assert architecture_of(model) == architecture
    settings = {"adapter_size": arguments["adapter_size"]} if "adapter_size" in arguments else None
    path = saved(tmp_path / "theirs", model, labels=labels, task_settings=settings)
    directory = huggingface.open_directory(path, "--model")
    assert directory.heads == family_of("bert").architectures[architecture]
    assert directory.has_pooler == (model.encoder.pooler is not None)
    conversion.run(path, str(tmp_path / "ours"))
    theirs, ours = (load_file(str(tmp_path / name / "model.safetensors")) for name in ("theirs", "ours"))
    assert theirs.keys() == ours.keys()
    assert len(theirs) == len(records(model))
    assert any(name.startswith("bert.") for name in theirs) == (architecture != "BertModel")
    for name in theirs:
        np.testing.assert_array_equal(theirs[name], ours[name])
    settings = json.loads((tmp_path / "ours/config.json").read_text())
    assert settings["architectures"] == [architecture]
    assert settings.get("id2label") == (labels and {str(i): label for i, label in enumerate(labels)})


def test_every_architecture_of_the_family_is_converted_above():
    mark = test_every_head_converts_to_the_same_bits.pytestmark[0]
    assert {case[0] for case in mark.args[1]} == set(family_of("bert").architectures)


@pytest.mark.parametrize("model_type", ["bert_with_bert_tf_adapters", "bert_tf_with_adapters"])
def test_transformers_does_not_open_a_model_with_adapters_and_this_project_does(small_config, tmp_path, model_type):
    """As this version names it and as 0.1 did."""
    model = built(small_config, heads={"tokens": {"units": 2}}, adapter_size=3)
    path = saved(tmp_path / "model", model, task_settings={"adapter_size": 3}, labels=["a", "b"])
    file = tmp_path / "model/config.json"
    settings = json.loads(file.read_text())
    assert settings["model_type"] == "bert_with_bert_tf_adapters"
    file.write_text(json.dumps({**settings, "model_type": model_type}))
    directory = huggingface.open_directory(path, "--model")
    assert directory.config == small_config
    assert directory.task_settings == {"adapter_size": 3}
    with pytest.raises(
        InputError, match="expected a model without adapters, or .*same adapter_size. Received one with"
    ):
        directory.load_weights(make_model(directory.config, {"tokens": {"units": 2}}))
    other = built(small_config, 1, {"tokens": {"units": 2}}, adapter_size=3)
    assert directory.load_weights(other).fresh == []


def test_an_unknown_head_is_not_converted(small_config, tmp_path):
    path = saved(tmp_path / "theirs", built(small_config))
    file = tmp_path / "theirs/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "architectures": ["BertLMHeadModel"]}))
    with pytest.raises(InputError, match="expected one of .*BertForSequence.* Received: BertLMHeadModel."):
        conversion.run(path, str(tmp_path / "ours"))
    with pytest.raises(InputError, match="expected one of .*BertForSequence.* Received: BertLMHeadModel."):
        _ = huggingface.open_directory(path, "--model").heads


def test_what_lora_learned_is_merged_into_the_base_by_convert(small_config, tmp_path):
    heads = {"sequence": {"units": 3, "dropout": 0.0}}
    base = saved(tmp_path / "base", built(small_config), task_settings=None)
    model = make_model(small_config, heads)
    source = open_source(base, "init_from")
    report = source.load_weights(model)
    assert source.fresh_records(model, report) == {"classifier.weight", "classifier.bias"}
    config = TuningConfig(method="lora", lora_rank=2)
    tuning.prepare(model, config)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    settings = {"architecture": architecture_of(model), "max_seq_length": 12, "labels": ["a", "b", "c"]}
    adapters.save(str(tmp_path / "adapter"), model, config, base=base, settings=settings)
    conversion.run(base, str(tmp_path / "merged"), str(tmp_path / "adapter"))
    directory = huggingface.open_directory(str(tmp_path / "merged"), "--model")
    assert (directory.architecture, directory.labels) == ("BertForSequenceClassification", ["a", "b", "c"])
    merged = make_model(small_config, heads)
    huggingface.load_all_weights(directory.path, merged)
    for ours, theirs in zip(records(merged), records(model), strict=True):
        np.testing.assert_allclose(np.asarray(ours.variable), np.asarray(theirs.variable), atol=1e-6, err_msg=ours.name)


def test_vocabulary_and_added_tokens_of_tokenizer_json_are_read(small_config, tmp_path):
    """A folder as transformers 5 writes it; see tests/text/test_tokenizer_files.py for its settings."""
    path = saved(tmp_path / "model", built(small_config), vocabulary=Vocabulary(VOCABULARY.pieces[:48]))
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / "model" / name).unlink()
    made = tokenizers.Tokenizer(
        models.WordPiece({t: i for i, t in enumerate(VOCABULARY.pieces[:48])}, unk_token="[UNK]")
    )
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_tokens(["covid"])
    made.add_special_tokens(["[E1]"])
    made.save(str(tmp_path / "model/tokenizer.json"))
    directory = huggingface.open_directory(path, "--model")
    assert directory.vocabulary.tokens[48:] == ("covid", "[E1]")
    conversion.run(path, str(tmp_path / "copy"))
    copy = huggingface.open_directory(str(tmp_path / "copy"), "--model")
    assert copy.vocabulary == directory.vocabulary
    text = "[E1] T1 Covid[E1]t2."
    assert copy.make_tokenizer().tokenize([text]).to_list()[0] == made.encode(text, add_special_tokens=False).ids
    made.add_tokens(["one more than the 50 rows of the embedding table"])
    made.save(str(tmp_path / "model/tokenizer.json"))
    with pytest.raises(InputError, match="a vocabulary of at most vocab_size = 50 tokens. Received 51 with its added"):
        huggingface.open_directory(path, "--model")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bert_tf": {}}, "architecture: expected str. Received: None."),
        (
            {"bert_tf": {"architecture": "BertModel", "max_seq_length": "x"}},
            "max_seq_length: expected int. Received: 'x'.",
        ),
        ({"r": None}, "r: expected int. Received: None."),
        ({"target_modules": "query"}, "target_modules: expected list. Received: 'query'."),
        ({"peft_type": "IA3"}, "expected the adapter/ of a LoRA or adapters run of bert_tf.finetune."),
    ],
)
def test_an_adapter_that_does_not_say_what_it_is(small_config, tmp_path, changes, sentence):
    path = saved(tmp_path / "base", built(small_config))
    told = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"]}
    told |= {"bert_tf": {"architecture": "BertModel", "max_seq_length": 16}, **changes}
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(told))
    with pytest.raises(InputError) as error:
        conversion.run(path, str(tmp_path / "out"), str(tmp_path / "adapter"))
    assert sentence in str(error.value) and f"{tmp_path}/adapter" in str(error.value)


def test_saving_replaces_and_leaves_no_temporary(small_config, tmp_path):
    for _ in range(2):
        saved(tmp_path / "model", built(small_config))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_saving_over_something_else_is_refused(small_config, tmp_path, kind):
    if kind == "file":
        (tmp_path / "model").write_text("mine")
    else:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="Received a file" if kind == "file" else "Received one with precious.txt"):
        saved(tmp_path / "model", built(small_config))
    assert len(list(tmp_path.rglob("*"))) == (1 if kind == "file" else 2)


def test_checkpoint_without_heads_is_not_converted(small_config, tmp_path):
    path = saved(tmp_path / "model", built(small_config))
    tensors = load_file(f"{path}/model.safetensors")
    save_file({n: x for n, x in tensors.items() if n.startswith("bert.")}, f"{path}/model.safetensors")
    with pytest.raises(InputError, match="with all weights of a BertForPreTraining. Received one without cls"):
        conversion.run(path, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_hugging_face_folder_converts_to_itself(small_config, tmp_path):
    path = saved(tmp_path / "theirs", built(small_config))
    conversion.run(path, str(tmp_path / "ours"))
    theirs, ours = (load_file(str(tmp_path / name / "model.safetensors")) for name in ("theirs", "ours"))
    assert theirs.keys() == ours.keys()
    for name in theirs:
        np.testing.assert_array_equal(theirs[name], ours[name])
