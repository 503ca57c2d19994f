"""A run's step under the real TPU compiler; make tpu-test runs it in .venv-tpu. And what preflight counts, anywhere."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from bert_tf import preflight, records
from bert_tf.config import BertConfig, OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.config_finetune import FinetuneConfig, FinetuneDataConfig
from bert_tf.errors import InputError
from bert_tf.tpu import chips, compiling, reporting, runs
from tests import served_models

ROOT = pathlib.Path(__file__).parent.parent
TINY = PretrainConfig(
    model=BertConfig(
        vocab_size=256,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    ),
    data=PretrainDataConfig(max_seq_length=32, max_predictions_per_seq=5),
    optimizer=OptimizerConfig(warmup_steps=10),
    train=TrainConfig(steps=100, global_batch_size=16),
)


def test_roofline_by_hand():
    chip = chips.chip_of("v5e:2x2")
    line = chips.roofline(chip, flops=197e9, bytes_accessed=819e6)
    assert (line.compute_seconds, line.memory_seconds) == pytest.approx((1e-3, 1e-3))
    assert chips.roofline(chip, flops=197e9, bytes_accessed=8.19e9).bound == "memory"
    assert chips.roofline(chip, flops=1.97e12, bytes_accessed=8.19e9).seconds == pytest.approx(0.01)
    for wrong in ("v3:2x2", "h100", ""):
        with pytest.raises(InputError, match="expected one of v4, v5e, v5p, v6e"):
            chips.chip_of(wrong)


def test_figures_by_hand():
    compiled = compiling.Compiled(
        topology="v5e:2x2",
        cores=4,
        examples_per_core=8,
        argument_bytes=2**30,
        temporary_bytes=2**31,
        output_bytes=0,
        flops=1.97e12,  # 10 ms of computing
        bytes_accessed=819e6,  # 1 ms of memory
        seconds=60.0,
    )
    found = reporting.figures(compiled, steps=360_000, analytic_flops=4e12, price=2.0)
    assert found["fits"] and found["bound"] == "compute" and found["analytic_flops_per_core"] == 1e12
    assert found["step_seconds"] == pytest.approx(0.01) and found["examples_per_second"] == pytest.approx(3200)
    assert (found["hours"], found["chip_hours"], found["cost"]) == pytest.approx((1.0, 4.0, 8.0))
    told = reporting.words(found | {"largest_examples_per_core": 64}, ["rows: packed"])
    for part in (
        "together 3.000: fits into its 16 GiB",
        "compute binds",
        "assumed: rows: packed",
        ", 8 at the price",
        "64 ex",
    ):
        assert part in told
    large = reporting.figures(dataclasses.replace(compiled, temporary_bytes=2**34), steps=1, analytic_flops=1.0)
    assert "cost" not in large and "to make it fit: raise train.microbatches" in reporting.words(large, [])


@pytest.mark.parametrize("packed", [0, 4])
def test_the_features_of_a_run_are_those_of_its_shards(packed, shards):
    run = runs.of_config(TINY, sequences_per_row=packed)
    names = {"input_word_ids", "input_mask", "input_type_ids", "masked_lm_positions", "masked_lm_ids"}
    names |= {"masked_lm_weights", "next_sentence_labels", "next_sentence_weights"}
    names |= {"position_ids", "sequence_ids", "next_sentence_positions"} if packed else set()
    assert set(run.features) == names
    assert run.features["next_sentence_labels"] == ((packed or 1,), np.dtype(np.int32))
    of_shards = dataclasses.replace(
        TINY,
        model=dataclasses.replace(TINY.model, max_position_embeddings=64),
        data=PretrainDataConfig(train=str(shards), max_seq_length=64, max_predictions_per_seq=10),
    )
    assert runs.of_config(of_shards).notes == []
    with pytest.raises(InputError, match="data.max_seq_length=32: expected what the shards were made with"):
        runs.of_config(dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, train=str(shards))))


def test_packed_rows_without_pairs_have_a_loss(tmp_path, monkeypatch):
    """One label a row, of no weight, as the input pipeline makes it."""
    layout = records.RecordLayout(
        max_seq_length=32, max_predictions_per_seq=5, max_sequences_per_row=4, has_pairs=False
    )
    (tmp_path / "dataset.json").write_text("{}")
    monkeypatch.setattr(runs.ShardFolder, "open", lambda path, field: types.SimpleNamespace(layout=layout))
    run = runs.of_config(dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, train=str(tmp_path))))
    assert run.features["next_sentence_labels"] == ((1,), np.dtype(np.int32))
    batch = {name: np.zeros((2, *shape), dtype) for name, (shape, dtype) in run.features.items()}
    assert run.model.loss_sums(run.model(batch), batch)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("start") / "model")
    served_models.write(path, "classification")
    return path


@pytest.mark.parametrize(
    "task",
    ["classification", "multi_label", "regression", "token_classification", "question_answering", "multiple_choice"]
    + ["embedding"],
)
def test_every_fine_tuning_has_a_step_to_compile(task, start):
    data = FinetuneDataConfig(max_seq_length=32, max_query_length=8, second_text_field="second_text")
    run = runs.of_config(FinetuneConfig(task=task, data=data, init_from=start))
    batch = {name: np.zeros((2, *shape), dtype) for name, (shape, dtype) in run.features.items()}
    outputs = run.model(batch)
    assert set(run.model.loss_sums(outputs, batch) if task != "embedding" else run.model.loss_weights(batch))


@pytest.fixture
def compiler(monkeypatch):
    """Makes preflight meet a compiler whose activations take so many bytes an example; the memory that a chip has."""

    def meet(bytes_an_example: float, memory: float = 16 * 2**30) -> list[int]:
        asked = []

        def compiled(made, config, topology, batch_size=None):
            rows = (batch_size or config.train.global_batch_size) // 4
            asked.append(rows)
            if 2**30 + rows * bytes_an_example > memory:
                raise compiling.DoesNotFitError("too large")
            return compiling.Compiled(topology, 4, rows, 2**30, int(rows * bytes_an_example), 0, 1e9, 1e9, 1.0)

        monkeypatch.setattr(preflight, "_compiled", compiled)
        monkeypatch.setattr(compiling, "devices_of", lambda topology: [None] * 4)
        return asked

    return meet


@pytest.mark.parametrize(
    ("bytes_an_example", "largest", "tried"),
    [
        (2**30 * 15 / 4, 4, [4]),  # the config's own, and no byte left
        (2**30 * 15 / 7, 4, [4, 8]),  # the double is near enough to be compiled
        (2**30 * 15 / 120, 64, [4, 64, 128]),  # memory leads to 120
        (2**30 * 15 / 70, 64, [4, 64]),  # twice 64 would take 28 of 16 GiB
        (2**30 * 15 / 2, 2, [4, 2]),  # the config's does not fit: halved until it does
        (2**30 * 15, 1, [4, 2, 1]),
    ],
)
def test_the_largest_batch_is_found(compiler, bytes_an_example, largest, tried):
    asked = compiler(bytes_an_example)
    found, notes = preflight.run(TINY, "v5e:2x2", largest_batch=True)
    assert found["largest_examples_per_core"] == largest
    assert found["tried_examples_per_core"] == tried == asked
    assert any("4 examples a chip do not fit" in note for note in notes) == (largest < 4)
    refused = [rows for rows in tried if rows > largest]
    assert [note for note in notes if "too large" in note] == [f"{rows} examples a chip: too large" for rows in refused]
    assert found["steps"] == 100 * 4 // min(largest, 4)
    assert found["hours"] == pytest.approx(found["steps"] * found["step_seconds"] / 3600)
    assert found["examples_per_core"] == min(largest, 4)


@pytest.mark.parametrize(
    ("activations", "largest", "tried"),
    [
        # Where memory is short the compiler keeps less: 21 GiB by proportion, 14 as it is.
        ({4: 10, 8: 13}, 8, [4, 8]),
        # Activations that grow faster than the batch: memory leads to 64, and 16 is what fits.
        ({4: 0.5, 64: 17, 32: 16, 16: 10}, 16, [4, 64, 32, 16]),
        # A batch that the compiler makes something of that does not fit, though memory would do.
        ({4: 2, 16: 99, 8: 4}, 8, [4, 16, 8]),
    ],
)
def test_memory_that_is_not_in_proportion(compiler, monkeypatch, activations, largest, tried):
    asked = compiler(0.0)

    def compiled(made, config, topology, batch_size=None):
        rows = (batch_size or config.train.global_batch_size) // 4
        asked.append(rows)
        if activations[rows] > 15:
            raise compiling.DoesNotFitError("too large")
        return compiling.Compiled(topology, 4, rows, 2**30, int(activations[rows] * 2**30), 0, 1e9, 1e9, 1.0)

    monkeypatch.setattr(preflight, "_compiled", compiled)
    found, _ = preflight.run(TINY, "v5e:2x2", largest_batch=True)
    assert found["largest_examples_per_core"] == largest
    assert found["tried_examples_per_core"] == tried == asked


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x: Used 20.50G of 15.75G hbm. Exceeded hbm", "takes 20.50G of 15.75G of a core's memory: raise train.microb"),
        ("Allocation (size=34359738368) would exceed memory (size=17179869184)", "32.00G in one array of 16.00G"),
        ("Ran out of memory in memory space vmem. Used 16.38M of 16.00M vmem.", "16.38M of 16.00M of a core's vector"),
    ],
)
def test_too_little_memory_is_told(text, told):
    error = compiling._refusal(RuntimeError(f"RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. {text}"), "v4:2x2x1")
    assert isinstance(error, compiling.DoesNotFitError) and told in str(error)


def test_not_even_one_example_fits(compiler):
    asked = compiler(2**30 * 16)
    with pytest.raises(compiling.DoesNotFitError):
        preflight.run(TINY, "v5e:2x2", largest_batch=True)
    assert asked == [4, 2, 1]


def in_tpu_environment(script: str) -> dict:
    """Runs a script with the TPU compiler; what it prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **preflight.ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


_COMPILE = """
import dataclasses, json
from tests.test_tpu import TINY
from bert_tf.tpu import compiling, runs
config = dataclasses.replace(
    TINY,
    optimizer=dataclasses.replace(TINY.optimizer, name={optimizer!r}),
    train=dataclasses.replace(TINY.train, precision={precision!r}),
)
run = runs.of_config(config, sequences_per_row={packed})
batch = {{name: (16, *shape) for name, (shape, _) in run.features.items()}}
compiled = compiling.compile_step(run, "v5e:2x2")
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
from bert_tf.tpu import compiling
names = ("v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2")
print(json.dumps([len(compiling.devices_of(name)) for name in names]))
"""
    assert in_tpu_environment(script) == [4, 4, 4, 4]


_PLANTED = """
import json
import tensorflow as tf
from tests.test_tpu import TINY
from bert_tf.errors import InputError
from bert_tf.tpu import compiling, runs
run = runs.of_config(TINY)
block = run.model.encoder.blocks[1]
call = block.call
def dynamic(x, visible, training=False):
    x = call(x, visible, training=training)
    kept = tf.boolean_mask(x, tf.reduce_sum(x, axis=-1) > 0)  # as many rows as there are positive sums
    return x + tf.reduce_mean(kept, axis=0)
block.call = dynamic
try:
    compiling.compile_step(run, "v5e:2x2")
    print(json.dumps("compiled"))
except InputError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.tpu
def test_the_command_keeps_what_it_compiled(tmp_path):
    command = [sys.executable, "-m", "bert_tf.preflight", "--config", "configs/pretrain_tiny.py", "--json"]
    environment = {**os.environ, **preflight.ENVIRONMENT, "HOME": str(tmp_path)}
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
from bert_tf.config import TrainConfig
from bert_tf.config_finetune import FinetuneConfig, FinetuneDataConfig, TuningConfig
from bert_tf.tpu import compiling, runs
config = FinetuneConfig(
    task="classification", data=FinetuneDataConfig(max_seq_length=32), init_from={start!r},
    tuning=TuningConfig(method="lora"), train=TrainConfig(steps=10, global_batch_size=16),
)
print(json.dumps(dataclasses.asdict(compiling.compile_step(runs.of_config(config), "v5e:2x2"))))
"""


@pytest.mark.tpu
def test_a_lora_step_compiles(start):
    assert in_tpu_environment(_FINETUNING.format(start=start))["flops"] > 0


@pytest.mark.tpu
def test_a_step_that_does_not_fit_is_told_so():
    script = """
import dataclasses, json
from bert_tf.config import BertConfig
from tests.test_tpu import TINY
from bert_tf.tpu import compiling, runs
model = BertConfig(vocab_size=30522, hidden_size=1024, num_hidden_layers=1, num_attention_heads=16,
                   intermediate_size=4096)
data = dataclasses.replace(TINY.data, max_seq_length=512, max_predictions_per_seq=76)
run = runs.of_config(dataclasses.replace(TINY, model=model, data=data))
try:
    compiling.compile_step(run, "v5e:2x2", 4 * 4096)
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
from bert_tf.config import BertConfig
from tests.test_tpu import TINY
from bert_tf.tpu import compiling, runs
model = BertConfig(vocab_size=8192, hidden_size=512, num_hidden_layers=2, num_attention_heads=8,
                   intermediate_size=2048, max_position_embeddings=128)
data = dataclasses.replace(TINY.data, max_seq_length=128, max_predictions_per_seq=20)
run = runs.of_config(dataclasses.replace(TINY, model=model, data=data))
compiled = compiling.compile_step(run, "v5e:2x2", 64)
print(json.dumps(compiled.flops))
"""
    width, inner, layers, length, rows, words, predictions = 512, 2048, 2, 128, 16, 8192, 20
    matrices = layers * (4 * width * width + 2 * width * inner)
    tokens = rows * length
    expected = 6 * matrices * tokens  # products with weights, forward and back
    expected += 6 * layers * 2 * rows * length * length * width  # scores and weighted sums
    expected += 6 * rows * predictions * (width * width + width * words)  # masked-LM head
    assert in_tpu_environment(script) == pytest.approx(expected, rel=0.05)
