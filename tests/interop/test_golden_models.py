"""The same weights give the same numbers as in transformers on PyTorch, for every head.

`python -m benchmarks.parity --golden tests/interop/golden` wrote the golden files with transformers 5 and PyTorch 2.13;
`python -m benchmarks.parity` compares more shapes, and opens what this project writes with their Auto classes.
"""

import pathlib
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from bert_tf.runs import conversion
from tests.support.golden_models import compared

GOLDEN = pathlib.Path(__file__).parent / "golden"
MODELS = sorted(path.name for path in GOLDEN.glob("golden-*"))


def test_there_is_one_of_every_head():
    assert len(MODELS) == 8


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_theirs(name):
    assert compared(str(GOLDEN / name)) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_what_is_converted_has_their_bits_and_names(name, tmp_path):
    conversion.run(str(GOLDEN / name), str(tmp_path / "ours"))
    theirs, ours = (load_file(folder / "model.safetensors") for folder in (GOLDEN / name, tmp_path / "ours"))
    assert set(ours) == {key for key in theirs if key != "bert.embeddings.position_ids"}
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key], err_msg=key)
    shutil.copy(GOLDEN / name / "expected.npz", tmp_path / "ours")
    assert compared(str(tmp_path / "ours")) < 1e-5
