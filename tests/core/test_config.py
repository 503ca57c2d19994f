import dataclasses
import json
import pathlib
from typing import ClassVar, Literal

import pytest

from bert_tf.core import config_io
from bert_tf.core.config import FinetuneConfig, PretrainConfig
from bert_tf.core.errors import InputError
from bert_tf.core.section import Section, bounded, from_data
from bert_tf.models.bert.config import BertConfig, preset
from bert_tf.tasks.classification import ClassificationConfig
from bert_tf.tasks.embedding import EmbeddingConfig
from bert_tf.tasks.question_answering import QuestionAnsweringConfig

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
_CONFIG = """
from bert_tf.core.config import PretrainConfig, TrainConfig
from bert_tf.models.bert.config import BertConfig
def get_config():
    return PretrainConfig(model=BertConfig(), train={})
"""


PRETRAIN = PretrainConfig(model=BertConfig())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    count: int = 1
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2.0)
    mode: Literal["a", "b"] = "a"
    flag: bool = False
    limit: float | None = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    size: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Other(Base):
    """What a family or task has beside the fields of the class that a config's type names."""

    more: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    other: Base = Other()
    name: str = "x"


@pytest.mark.parametrize(
    ("assignment", "path", "expected"),
    [
        ("inner.count=7", ("inner", "count"), 7),
        ("inner.count=1e6", ("inner", "count"), 1_000_000),
        ("inner.count=1_000", ("inner", "count"), 1000),
        ("inner.sizes=3,4,5", ("inner", "sizes"), (3, 4, 5)),
        ("inner.sizes=(3,)", ("inner", "sizes"), (3,)),
        ("inner.sizes=()", ("inner", "sizes"), ()),
        ("inner.pair=3,4", ("inner", "pair"), (3, 4.0)),
        ("inner.mode=b", ("inner", "mode"), "b"),
        ("inner.flag=true", ("inner", "flag"), True),
        ("inner.limit=none", ("inner", "limit"), None),
        ("inner.limit=2", ("inner", "limit"), 2.0),
        ("other.size=5", ("other", "size"), 5),
        ("other.more=5", ("other", "more"), 5),
        ("name=a=b", ("name",), "a=b"),
    ],
)
def test_override_reads_each_type(assignment, path, expected):
    value = config_io.override(Outer(), [assignment])
    for name in path:
        value = getattr(value, name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("inner.nothing=1", "--set inner.nothing: inner has no field 'nothing'. Expected one of: count, sizes"),
        ("nothing=1", "--set nothing: the config has no field 'nothing'"),
        ("inner.count=1.5", "--set inner.count: expected a whole number. Received: '1.5'."),
        ("inner.count=many", "--set inner.count: expected a whole number. Received: 'many'."),
        ("inner.count=True", "--set inner.count: expected a whole number. Received: 'True'."),
        ("inner.mode=c", "--set inner.mode: expected one of a, b. Received: 'c'."),
        ("inner.flag=maybe", "--set inner.flag: expected true or false. Received: 'maybe'."),
        ("inner.pair=1,2,3", "--set inner.pair: expected 2 values. Received 3"),
        ("inner=1", "--set inner: inner is a section. Expected one of its fields: count"),
        ("name.more=1", "--set name.more: name is a value, it has no field 'more'."),
        ("inner.count", "--set inner.count: expected section.field=value. Received no '='."),
        ("other.nothing=1", "--set other.nothing: other has no field 'nothing'. Expected one of: size, more."),
    ],
)
def test_wrong_override_is_one_clear_sentence(assignment, sentence):
    with pytest.raises(InputError) as error:
        config_io.override(Outer(), [assignment])
    assert str(error.value).startswith(sentence)


def test_cross_checks_see_all_overrides_of_a_section_together():
    # Either alone is refused, since 100 does not divide by 12 and 768 does not divide by 10.
    changed = config_io.override(PRETRAIN, ["model.hidden_size=100", "model.num_attention_heads=10"])
    assert changed.model.hidden_size == 100
    with pytest.raises(InputError, match="model.hidden_size must be divisible by model.num_attention_heads"):
        config_io.override(PRETRAIN, ["model.hidden_size=100"])


def test_saved_config_comes_back_equal(tmp_path):
    config = config_io.override(PRETRAIN, ["train.steps=5", "optimizer.clip_norm=none", "data.train=x"])
    config_io.save(config, str(tmp_path / "config.json"))
    assert config_io.restore(PretrainConfig, str(tmp_path / "config.json"), {"model": BertConfig}) == config


def test_resumed_run_with_another_config_is_refused_by_field(tmp_path):
    config = ClassificationConfig(init_from="a")
    config_io.check_settled(config, str(tmp_path))
    config_io.settle(config, str(tmp_path))
    config_io.check_settled(config, str(tmp_path))
    other = config_io.override(config, ["train.seed=1", "optimizer.learning_rate=1"])
    with pytest.raises(InputError) as error:
        config_io.check_settled(other, str(tmp_path))
    freed = config_io.override(config, ["train.on_nonfinite=rewind", "train.microbatches=2"])
    config_io.check_settled(freed, str(tmp_path))
    config_io.settle(freed, str(tmp_path))
    assert config_io.restore(ClassificationConfig, str(tmp_path / "config.json")) == freed
    with pytest.raises(InputError, match="--workdir gs://bucket/run: expected a folder of this machine"):
        config_io.check_settled(config, "gs://bucket/run")
    assert "optimizer.learning_rate (there 3e-05, now 1.0)" in str(error.value)
    assert "train.seed (there 12345, now 1)" in str(error.value)
    assert "train.steps" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (None, "no such file"),
        ("x = 1", "expected a function get_config()"),
        ("def get_config(): return 3", "expected get_config() to return a PretrainConfig. Received: int."),
        ("def get_config(:", "expected a config that loads. Received SyntaxError"),
        (
            _CONFIG.format("TrainConfig(colour=1)"),
            "TypeError: TrainConfig.__init__() got an unexpected keyword argument",
        ),
        (
            _CONFIG.format("TrainConfig(strategy='tpo')"),
            "train.strategy: expected Literal['auto', 'single', 'mirrored', 'multi_worker', 'tpu']. ",
        ),
        (_CONFIG.format("TrainConfig(steps=1e4)"), "train.steps: expected int. Received: 10000.0."),
        (_CONFIG.format("TrainConfig(seed=True)"), "train.seed: expected int. Received: True."),
        (_CONFIG.format("3"), "train: expected TrainConfig. Received: 3."),
    ],
)
def test_wrong_config_file_is_one_clear_sentence(tmp_path, source, sentence):
    path = tmp_path / "config.py"
    if source is not None:
        path.write_text(source)
    with pytest.raises(InputError) as error:
        config_io.load(str(path), [], PretrainConfig)
    assert sentence in str(error.value)


def test_saved_config_with_unknown_field_is_refused():
    with pytest.raises(InputError, match="unknown field 'colour' of BertConfig"):
        config_io.from_dict(PretrainConfig, {"model": {"colour": 1}}, "config.json", {"model": BertConfig})


@pytest.mark.parametrize(
    "assignment",
    [
        *("data.max_seq_length=0", "data.max_predictions_per_seq=-1", "optimizer.beta_1=7", "optimizer.epsilon=0"),
        *(
            "optimizer.weight_decay=-1",
            "optimizer.clip_norm=0",
            "optimizer.learning_rate=0",
            "optimizer.warmup_steps=-1",
        ),
        *(
            "train.seed=-1",
            "train.evaluate_examples=0",
            "train.steps=0",
            "train.checkpoint_every=0",
            "train.seed=4294967296",
            "train.rewind_checkpoints=4",
            "train.profile_steps=5,4",
        ),
        *("model.num_hidden_layers=0", "model.hidden_dropout_prob=1", "data.max_seq_length=513", "model.vocab_size=0"),
        "data.masked_lm_prob=1",
        "optimizer.learning_rate=1e999",
    ],
)
def test_value_out_of_range_names_the_field(assignment):
    with pytest.raises(InputError, match=assignment.split("=")[0]):
        config_io.override(PRETRAIN, [assignment])


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("train.steps=0", "train.steps must be >= 1. Received: 0."),
        ("optimizer.beta_1=1", "optimizer.beta_1 must be >= 0 and < 1. Received: 1.0."),
        ("optimizer.epsilon=0", "optimizer.epsilon must be > 0. Received: 0.0."),
        ("train.seed=4294967296", "train.seed must be >= 0 and < 4294967296. Received: 4294967296."),
        (
            "optimizer.final_learning_rate=1",
            "optimizer.final_learning_rate must not exceed optimizer.learning_rate. Received: 1.0 and 0.0001.",
        ),
    ],
)
def test_a_limit_is_said_as_it_is_declared(assignment, sentence):
    with pytest.raises(InputError) as error:
        config_io.override(PRETRAIN, [assignment])
    assert str(error.value) == sentence


def test_limits_of_a_section_of_ones_own():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Windows(Section):
        section: ClassVar[str] = "data"
        stride: int = bounded(128, at_least=1)
        share: float | None = bounded(None, above=0, at_most=1)
        length: int | None = from_data(at_least=3)

    assert (Windows().stride, Windows(share=1).share, Windows().length) == (128, 1, None)
    for changes, sentence in (
        ({"stride": 0}, "data.stride must be >= 1. Received: 0."),
        ({"share": 1.5}, "data.share must be > 0 and <= 1. Received: 1.5."),
        ({"length": 2}, "data.length must be >= 3. Received: 2."),
    ):
        with pytest.raises(InputError) as error:
            Windows(**changes)
        assert str(error.value) == sentence
    assert Windows(stride="x").stride == "x"  # the type is check_types' to refuse


def test_a_run_that_goes_on_leaves_to_the_data_what_it_began_with(tmp_path):
    began = config_io.override(PRETRAIN, ["data.max_predictions_per_seq=10", "data.max_seq_length=128"])
    assert config_io.as_begun(PRETRAIN, str(tmp_path)) == PRETRAIN
    config_io.save(began, str(tmp_path / "config.json"))
    left_out = config_io.as_begun(PRETRAIN, str(tmp_path)).data
    assert (left_out.max_predictions_per_seq, left_out.max_seq_length) == (10, 128)
    given = config_io.override(PRETRAIN, ["data.max_predictions_per_seq=20"])
    assert config_io.as_begun(given, str(tmp_path)).data.max_predictions_per_seq == 20  # and is refused


def test_each_task_has_fields_of_its_own():
    config = QuestionAnsweringConfig()
    assert config_io.override(config, ["data.doc_stride=7", "head.n_best_size=3"]).data.doc_stride == 7
    with pytest.raises(InputError, match="--set head.pooling: head has no field 'pooling'. Expected one of: n_best"):
        config_io.override(config, ["head.pooling=cls"])
    with pytest.raises(InputError, match="--set head.n_best_size: head has no field 'n_best_size'"):
        config_io.override(EmbeddingConfig(), ["head.n_best_size=3"])
    with pytest.raises(InputError, match="--set head.pooling: head has no field 'pooling'. Expected one of: none"):
        config_io.override(ClassificationConfig(), ["head.pooling=cls"])


def test_sections_of_the_family_and_the_task_come_back_as_they_are(tmp_path):
    config = config_io.override(EmbeddingConfig(init_from="a"), ["head.pooling=cls", "data.max_seq_length=9"])
    config_io.save(config, str(tmp_path / "config.json"))
    found = config_io.restore(EmbeddingConfig, str(tmp_path / "config.json"))
    assert found == config and type(found.head) is type(config.head)
    values = dataclasses.asdict(config)
    again = config_io.from_dict(FinetuneConfig, values, "x", {"data": type(config.data), "head": type(config.head)})
    assert (again.data, again.head) == (config.data, config.head)
    with pytest.raises(InputError, match="config.json: expected the fields of PretrainConfig. Received: .*model"):
        config_io.from_dict(PretrainConfig, {}, "config.json")


# config.json as version 0.1 wrote it: no model_type, no objective, no engine, and one section for all tasks.
_OPTIMIZER_OF_0_1 = {
    "name": "adamw",
    "learning_rate": 0.0001,
    "warmup_steps": 10000,
    "final_learning_rate": 0.0,
    "decay_power": 1.0,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-06,
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "bias_correction": False,
}
_TRAIN_OF_0_1 = {
    "steps": 1000000,
    "global_batch_size": 256,
    "microbatches": 1,
    "rematerialize": False,
    "strategy": "auto",
    "precision": "float32",
    "xla": "auto",
    "steps_per_loop": 100,
    "log_every": 100,
    "evaluate_every": 10000,
    "evaluate_examples": None,
    "checkpoint_every": 1000,
    "keep_checkpoints": 3,
    "mirror": "",
    "on_nonfinite": "stop",
    "rewind_checkpoints": 1,
    "profile_steps": None,
    "seed": 12345,
}
_PRETRAIN_OF_0_1 = {
    "model": {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
    },
    "data": {
        "train": "shards",
        "validation": None,
        "vocab": None,
        "max_seq_length": 128,
        "max_predictions_per_seq": 20,
        "masked_lm_prob": 0.15,
        "readers": 1,
    },
    "optimizer": _OPTIMIZER_OF_0_1,
    "train": _TRAIN_OF_0_1,
    "init_from": None,
}
_FINETUNE_OF_0_1 = {
    "task": "classification",
    "data": {
        "train": "a.jsonl",
        "validation": "b.jsonl",
        "text_field": "text",
        "second_text_field": None,
        "label_field": "label",
        "labels": ["x", "y"],
        "choices_field": "choices",
        "label_separator": ",",
        "tag_column": -1,
        "max_seq_length": 128,
        "doc_stride": 128,
        "max_query_length": 64,
    },
    "head": {
        "pooling": "mean",
        "normalize": True,
        "loss": "contrastive",
        "contrastive_group": 16,
        "similarity_scale": 20.0,
        "n_best_size": 20,
        "max_answer_length": 30,
        "no_answer_threshold": None,
        "decision_threshold": 0.5,
    },
    "tuning": {
        "method": "full",
        "lora_rank": 8,
        "lora_alpha": 16.0,
        "lora_targets": ["query", "value"],
        "adapter_size": 64,
        "frozen_layers": 0,
        "layer_decay": 1.0,
        "label_smoothing": 0.0,
        "class_weights": "equal",
        "metric": None,
        "select": "best",
        "early_stopping": None,
    },
    "optimizer": {**_OPTIMIZER_OF_0_1, "learning_rate": 3e-05, "warmup_steps": 100},
    "train": {
        **_TRAIN_OF_0_1,
        "steps": 1000,
        "global_batch_size": 32,
        "steps_per_loop": 50,
        "log_every": 50,
        "evaluate_every": 500,
        "checkpoint_every": 500,
    },
    "epochs": None,
    "warmup_proportion": 0.1,
    "classifier_dropout": 0.1,
    "init_from": "model",
}


@pytest.mark.parametrize("says_lengths", [False, True])
def test_a_pretraining_run_of_version_0_1_goes_on(tmp_path, says_lengths):
    (tmp_path / "config.json").write_text(json.dumps(_PRETRAIN_OF_0_1))
    config = config_io.override(PRETRAIN, ["data.train=shards"])
    if says_lengths:
        said = ["model.vocab_size=30522", "data.max_seq_length=128", "data.max_predictions_per_seq=20"]
        config = config_io.override(config, said)
    assert config_io.differences(_PRETRAIN_OF_0_1, config) == []
    config_io.check_settled(config, str(tmp_path))
    # A value that the config has must be the run's; one of the new fields must be what 0.1 did.
    for assignment, difference in (
        ("data.max_seq_length=64", "data.max_seq_length (there 128, now 64)"),
        ("model.hidden_size=96", "model.hidden_size (there 768, now 96)"),
        ("objective=other", "objective (there 'masked_lm', now 'other')"),
    ):
        assert config_io.differences(_PRETRAIN_OF_0_1, config_io.override(config, [assignment])) == [difference]
    config_io.settle(config, str(tmp_path))
    assert config_io.restore(PretrainConfig, str(tmp_path / "config.json"), {"model": BertConfig}) == config


def test_a_fine_tuning_run_of_version_0_1_goes_on(tmp_path):
    """It kept the settings of all tasks; those of others are left out."""
    (tmp_path / "config.json").write_text(json.dumps(_FINETUNE_OF_0_1))
    data = ["data.train=a.jsonl", "data.validation=b.jsonl", "data.labels=x,y"]
    config = config_io.override(ClassificationConfig(init_from="model"), data)
    assert config_io.differences(_FINETUNE_OF_0_1, config) == []
    config_io.check_settled(config, str(tmp_path))
    other = config_io.override(config, ["data.labels=y,x", "tuning.method=lora"])
    assert config_io.differences(_FINETUNE_OF_0_1, other) == [
        "data.labels (there ['x', 'y'], now ['y', 'x'])",
        "tuning.method (there 'full', now 'lora')",
    ]
    assert "task (there 'classification', now 'embedding')" in config_io.differences(
        _FINETUNE_OF_0_1, EmbeddingConfig()
    )


def test_presets_are_named():
    assert preset("base") == BertConfig()
    assert preset("tiny", vocab_size=9) == dataclasses.replace(preset("tiny"), vocab_size=9)
    with pytest.raises(InputError, match="preset must be one of tiny, mini"):
        preset("huge")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_configs_of_the_project_load(path):
    config_class = PretrainConfig if path.stem.startswith("pretrain") else FinetuneConfig
    config = config_io.load(str(path), [], config_class)
    assert config_io.override(config, ["train.seed=3"]).train.seed == 3
