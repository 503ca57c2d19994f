"""A run's step under the real TPU compiler; make tpu-test runs it in .venv-tpu."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from bert_tf.preflight.environment import ENVIRONMENT

ROOT = pathlib.Path(__file__).parents[2]


def in_tpu_environment(script: str) -> dict:
    """Runs a script with the TPU compiler; what it prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


_COMPILE = """
import dataclasses, json
from tests.support.tiny_step import TINY
from bert_tf.preflight import compiling, step_inputs
config = dataclasses.replace(
    TINY,
    optimizer=dataclasses.replace(TINY.optimizer, name={optimizer!r}),
    train=dataclasses.replace(TINY.train, precision={precision!r}),
)
run = step_inputs.of_config(config, sequences_per_row={packed})
batch = {{name: (16, *shape) for name, (shape, _) in run.features.items()}}
compiled = compiling.lower(run, "v5e:2x2", 16).compile()
print(json.dumps({{**dataclasses.asdict(compiled), "counted": 3 * run.model.forward_flops(batch) / 4}}))
"""


@pytest.mark.tpu
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("packed", [0, 4])
def test_the_whole_step_compiles(optimizer, precision, packed):
    found = in_tpu_environment(_COMPILE.format(optimizer=optimizer, precision=precision, packed=packed))
    assert found["cores"] == 4 and found["examples_per_core"] == 4
    # Temporaries of so small a step may all live in the chip's own memory.
    assert found["argument_bytes"] > 0 and found["temporary_bytes"] >= 0
    assert found["flops"] > 0.95 * found["counted"]
    assert found["bytes_accessed"] > found["argument_bytes"]


@pytest.mark.tpu
def test_a_chip_is_one_device():
    script = """
import json
from bert_tf.preflight import compiling
names = ("v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2")
print(json.dumps([len(compiling.devices_of(name)) for name in names]))
"""
    assert in_tpu_environment(script) == [4, 4, 4, 4]


_PLANTED = """
import json
import tensorflow as tf
from tests.support.tiny_step import TINY
from bert_tf.core.errors import InputError
from bert_tf.preflight import compiling, step_inputs
run = step_inputs.of_config(TINY)
block = run.model.encoder.blocks[1]
call = block.call
def dynamic(x, visible, training=False):
    x = call(x, visible, training=training)
    kept = tf.boolean_mask(x, tf.reduce_sum(x, axis=-1) > 0)  # as many rows as there are positive sums
    return x + tf.reduce_mean(kept, axis=0)
block.call = dynamic
try:
    compiling.lower(run, "v5e:2x2", 16).compile()
    print(json.dumps("compiled"))
except InputError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.tpu
def test_the_command_keeps_what_it_compiled(tmp_path):
    command = [sys.executable, "-m", "bert_tf.preflight", "--config", "configs/pretrain_tiny.py", "--json"]
    environment = {**os.environ, **ENVIRONMENT, "HOME": str(tmp_path)}
    told = [
        json.loads(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout)
        for _ in range(2)
    ]
    assert told[0] == told[1]  # the seconds that compiling took among them
    assert len(list((tmp_path / ".cache" / "bert_tf" / "preflight").iterdir())) == 1
    assert told[0]["fits"] and told[0]["topology"] == "v5e:2x2" and told[0]["assumed"]


@pytest.mark.tpu
def test_a_dynamic_shape_is_told_with_its_layer():
    told = in_tpu_environment(_PLANTED)
    assert told.startswith("--topology v5e:2x2: expected a step that compiles. Refused at ")
    assert "layer_1" in told


_FINETUNING = """
import dataclasses, json
from bert_tf.core.config import TrainConfig, TuningConfig
from bert_tf.preflight import compiling, step_inputs
from bert_tf.tasks.classification import ClassificationConfig
from bert_tf.tasks.shared.sections import ClassDataConfig
config = ClassificationConfig(
    data=ClassDataConfig(max_seq_length=32), init_from={start!r},
    tuning=TuningConfig(method="lora"), train=TrainConfig(steps=10, global_batch_size=16),
)
print(json.dumps(dataclasses.asdict(compiling.lower(step_inputs.of_config(config), "v5e:2x2", 16).compile())))
"""


@pytest.mark.tpu
def test_a_lora_step_compiles(classifier):
    assert in_tpu_environment(_FINETUNING.format(start=classifier))["flops"] > 0


@pytest.mark.tpu
def test_a_step_that_does_not_fit_is_told_so():
    script = """
import dataclasses, json
from bert_tf.models.bert.config import BertConfig
from tests.support.tiny_step import TINY
from bert_tf.preflight import compiling, step_inputs
model = BertConfig(vocab_size=30522, hidden_size=1024, num_hidden_layers=1, num_attention_heads=16,
                   intermediate_size=4096)
data = dataclasses.replace(TINY.data, max_seq_length=512, max_predictions_per_seq=76)
run = step_inputs.of_config(dataclasses.replace(TINY, model=model, data=data))
try:
    compiling.lower(run, "v5e:2x2", 4 * 4096).compile()
    print(json.dumps("fits"))
except compiling.DoesNotFitError as error:
    print(json.dumps(str(error)))
"""
    told = in_tpu_environment(script)
    assert "of a core's memory: raise train.microbatches" in told


@pytest.mark.tpu
def test_operations_are_those_counted_by_hand():
    """6 x parameters x tokens and attention, of a network wide enough that little else counts."""
    script = """
import dataclasses, json
from bert_tf.models.bert.config import BertConfig
from tests.support.tiny_step import TINY
from bert_tf.preflight import compiling, step_inputs
model = BertConfig(vocab_size=8192, hidden_size=512, num_hidden_layers=2, num_attention_heads=8,
                   intermediate_size=2048, max_position_embeddings=128)
data = dataclasses.replace(TINY.data, max_seq_length=128, max_predictions_per_seq=20)
run = step_inputs.of_config(dataclasses.replace(TINY, model=model, data=data))
compiled = compiling.lower(run, "v5e:2x2", 64).compile()
print(json.dumps(compiled.flops))
"""
    width, inner, layers, length, rows, words, predictions = 512, 2048, 2, 128, 16, 8192, 20
    matrices = layers * (4 * width * width + 2 * width * inner)
    tokens = rows * length
    expected = 6 * matrices * tokens  # products with weights, forward and back
    expected += 6 * layers * 2 * rows * length * length * width  # scores and weighted sums
    expected += 6 * rows * predictions * (width * width + width * words)  # masked-LM head
    assert in_tpu_environment(script) == pytest.approx(expected, rel=0.05)
