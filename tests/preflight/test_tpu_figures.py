"""What preflight says of a compiled step, of a refused one, and which is the largest batch."""

import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import sys
import types
from collections.abc import Callable

import pytest

from bert_tf.core import chips
from bert_tf.core.errors import InputError
from bert_tf.preflight import check as preflight
from bert_tf.preflight import compile_cache, compiling, reporting, search
from tests.support.tiny_step import TINY


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
    assert error.memory == ("vmem" if "vmem" in text else "hbm")


def compiler(activations: Callable[[int], float], memory: float = 16 * 2**30) -> search.Search:
    """A search whose compiler says that a step takes 1 GiB and so many bytes of activations."""

    def compile_step(rows: int) -> compiling.Compiled:
        if 2**30 + activations(rows) > memory:
            raise compiling.DoesNotFitError(f"{rows} are too large", "hbm")
        return compiling.Compiled("v5e:2x2", 4, rows, 2**30, int(activations(rows)), 0, 1e9, 1e9, 1.0)

    return search.Search(compile_step, memory)


@pytest.mark.parametrize(
    ("bytes_an_example", "largest", "tried"),
    [
        (2**30 * 15 / 4, 4, [4]),  # those of the config, and no byte left
        (2**30 * 15 / 7, 4, [4, 8]),  # the double is near enough to be compiled
        (2**30 * 15 / 120, 64, [4, 64, 128]),  # memory leads to 120
        (2**30 * 15 / 70, 64, [4, 64]),  # twice 64 would take 28 of 16 GiB
        (2**30 * 15 / 2, 2, [4, 2]),  # those of the config do not fit: halved until they do
        (2**30 * 15, 1, [4, 2, 1]),
    ],
)
def test_the_largest_batch_is_found(bytes_an_example, largest, tried):
    tries = compiler(lambda rows: rows * bytes_an_example)
    fitting = tries.first_that_fits(4, 1)
    assert fitting.examples_per_core == min(largest, 4)
    assert tries.largest(fitting) == largest
    assert tries.tried == tried
    assert tries.refused == [search.Refused(n, "hbm", f"{n} are too large") for n in tried if n > largest]


@pytest.mark.parametrize(
    ("gibibytes", "largest", "tried"),
    [
        # Where memory is short the compiler keeps less: 21 GiB by proportion, 14 as it is.
        ({4: 10, 8: 13}, 8, [4, 8]),
        # Activations that grow faster than the batch: memory leads to 64, and 16 is what fits.
        ({4: 0.5, 64: 17, 32: 16, 16: 10}, 16, [4, 64, 32, 16]),
        # A batch that the compiler makes something of that does not fit, though memory would do.
        ({4: 2, 16: 99, 8: 4}, 8, [4, 16, 8]),
    ],
)
def test_memory_that_is_not_in_proportion(gibibytes, largest, tried):
    tries = compiler(lambda rows: gibibytes[rows] * 2**30)
    assert tries.largest(tries.first_that_fits(4, 1)) == largest
    assert tries.tried == tried


@pytest.mark.parametrize(("microbatches", "tried"), [(1, [4, 2, 1]), (2, [4, 2])])
def test_not_even_one_example_a_microbatch_fits(microbatches, tried):
    tries = compiler(lambda rows: 2**34)
    with pytest.raises(compiling.DoesNotFitError):
        tries.first_that_fits(4, microbatches)
    assert tries.tried == tried


def test_a_batch_that_does_not_fit_takes_more_steps(monkeypatch):
    def compile_step(run, topology, batch_size):
        return compiler(lambda rows: rows * 2**30 * 15 / 2).compile_step(batch_size // 4)

    monkeypatch.setattr(compile_cache, "compile_step", compile_step)
    monkeypatch.setattr(compiling, "devices_of", lambda topology: [None] * 4)
    found, notes = preflight.run(TINY, "v5e:2x2", largest_batch=True, price=1.0)
    assert found["largest_examples_per_core"] == found["examples_per_core"] == 2
    assert found["steps"] == 2 * TINY.train.steps
    assert found["hours"] == pytest.approx(found["steps"] * found["step_seconds"] / 3600)
    assert found["cost"] == pytest.approx(4 * found["hours"])
    assert "4 examples a chip do not fit; so many steps of fewer that all examples are seen" in notes
    told = reporting.words(found, notes)
    assert "4 examples a chip: 4 are too large" in told
    with pytest.raises(InputError, match="train.global_batch_size=18: expected a multiple of cores x microbatches"):
        odd = dataclasses.replace(TINY.train, global_batch_size=18)
        preflight.run(dataclasses.replace(TINY, train=odd), "v5e:2x2", largest_batch=True)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="of an environment without the compiler")
def test_without_the_compilers_environment_it_says_how_to_make_it(tmp_path):
    root = pathlib.Path(__file__).parents[2]
    arguments = ["-m", "bert_tf.preflight", "--config", str(root / "configs/pretrain_tiny.py")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    told = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert told.stderr == (
        "error: Expected the TPU compiler in .venv-tpu. Received no finished one: run make tpu-env first.\n"
    )


def test_what_was_compiled_before_is_not_compiled_again(monkeypatch, tmp_path):
    monkeypatch.setattr(compile_cache, "_FOLDER", str(tmp_path / "kept"))
    monkeypatch.setattr(compile_cache.importlib.metadata, "version", lambda name: "1")
    asked = []

    def lower(run, topology, batch_size):
        def compile_it():
            asked.append(batch_size)
            return compiler(lambda rows: rows * 2**30).compile_step(batch_size // 4)

        return types.SimpleNamespace(text=f"a program of {batch_size} rows", compile=compile_it)

    monkeypatch.setattr(compile_cache, "lower", lower)
    run = types.SimpleNamespace(train=TINY.train)
    first = compile_cache.compile_step(run, "v5e:2x2", 8)
    assert compile_cache.compile_step(run, "v5e:2x2", 8) == first and asked == [8]
    for _ in range(2):  # a refusal is kept as well
        with pytest.raises(compiling.DoesNotFitError, match="16 are too large") as error:
            compile_cache.compile_step(run, "v5e:2x2", 64)
        assert error.value.memory == "hbm" and asked == [8, 64]
    monkeypatch.setenv("XLA_FLAGS", "--xla_x=1")  # another compiler, in effect
    compile_cache.compile_step(run, "v5e:2x2", 8)
    assert asked == [8, 64, 8]
    for path in (tmp_path / "kept").iterdir():
        path.write_text("{")
    assert compile_cache.compile_step(run, "v5e:2x2", 8) == first and asked == [8, 64, 8, 8]
