import dataclasses
import pathlib
from typing import Literal

import pytest
from bert_tf.core.config_finetune import FinetuneConfig

from bert_tf.core import config_io
from bert_tf.core.errors import InputError
from bert_tf.models.bert.config import BertConfig, PretrainConfig, preset

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
_CONFIG = """
from bert_tf.core.config import PretrainConfig, TrainConfig
def get_config():
    return PretrainConfig(train={})
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    count: int = 1
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2.0)
    mode: Literal["a", "b"] = "a"
    flag: bool = False
    limit: float | None = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    maybe: Inner | None = None
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
        ("maybe.count=5", ("maybe", "count"), 5),
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
    ],
)
def test_wrong_override_is_one_clear_sentence(assignment, sentence):
    with pytest.raises(InputError) as error:
        config_io.override(Outer(), [assignment])
    assert str(error.value).startswith(sentence)


def test_cross_checks_see_all_overrides_of_a_section_together():
    # Either alone is refused, since 100 does not divide by 12 and 768 does not divide by 10.
    changed = config_io.override(PretrainConfig(), ["model.hidden_size=100", "model.num_attention_heads=10"])
    assert changed.model.hidden_size == 100
    with pytest.raises(InputError, match="model.hidden_size must be divisible by model.num_attention_heads"):
        config_io.override(PretrainConfig(), ["model.hidden_size=100"])


def test_saved_config_comes_back_equal(tmp_path):
    config = config_io.override(PretrainConfig(), ["train.steps=5", "optimizer.clip_norm=none", "data.train=x"])
    config_io.save(config, str(tmp_path / "config.json"))
    assert config_io.restore(PretrainConfig, str(tmp_path / "config.json")) == config


def test_resumed_run_with_another_config_is_refused_by_field(tmp_path):
    config = FinetuneConfig(init_from="a")
    config_io.check_settled(config, str(tmp_path))
    config_io.settle(config, str(tmp_path))
    config_io.check_settled(config, str(tmp_path))
    other = config_io.override(config, ["train.seed=1", "optimizer.learning_rate=1"])
    with pytest.raises(InputError) as error:
        config_io.check_settled(other, str(tmp_path))
    freed = config_io.override(config, ["train.on_nonfinite=rewind", "train.microbatches=2"])
    config_io.check_settled(freed, str(tmp_path))
    config_io.settle(freed, str(tmp_path))
    assert config_io.restore(FinetuneConfig, str(tmp_path / "config.json")) == freed
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
        config_io.from_dict(PretrainConfig, {"model": {"colour": 1}}, "config.json")


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
        *("model.num_hidden_layers=0", "model.hidden_dropout_prob=1", "data.max_seq_length=513"),
        "optimizer.learning_rate=1e999",
    ],
)
def test_value_out_of_range_names_the_field(assignment):
    with pytest.raises(InputError, match=assignment.split("=")[0]):
        config_io.override(PretrainConfig(), [assignment])


def test_presets_are_named():
    assert preset("base") == BertConfig()
    with pytest.raises(InputError, match="preset must be one of tiny, mini"):
        preset("huge")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_configs_of_the_project_load(path):
    config_class = PretrainConfig if path.stem.startswith("pretrain") else FinetuneConfig
    config = config_io.load(str(path), [], config_class)
    assert config_io.override(config, ["train.seed=3"]).train.seed == 3
