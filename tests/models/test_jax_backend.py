"""Models, objectives and the update are keras.ops only: on Keras' JAX backend they compute what they do on TensorFlow.

The process with JAX cannot import TensorFlow at all.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from bert_tf.models.family import records
from bert_tf.models.model import make_model
from tests.support import backends
from tests.support.training import randomized

ROOT = pathlib.Path(__file__).parents[2]
# Every operation is compiled and runs once.
_QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """FOLDER/CASE with weights, a batch, and what JAX makes of them."""
    made = tmp_path_factory.mktemp("backends")
    for name, case in backends.CASES.items():
        model = randomized(make_model(backends.CONFIG, case.heads, **case.model))
        (made / name).mkdir()
        values = {record.name: np.asarray(record.variable) for record in records(model)}
        np.savez(made / name / "weights.npz", **values)
        np.savez(made / name / "batch.npz", **backends.batch_of(name))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.backends", str(made)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": _QUICK},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return made


@pytest.mark.parametrize("case", backends.CASES)
def test_outputs_losses_gradients_and_updates_are_those_of_tensorflow(folder, case):
    expected = backends.computed(str(folder / case), case)
    with np.load(folder / case / "jax.npz") as found:
        assert set(found) == set(expected)
        assert any("/gradient/" in name for name in expected) and any("/output/" in name for name in expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_every_objective_and_head_is_among_the_cases():
    from bert_tf.models.heads import KINDS
    from bert_tf.objectives import supervised
    from bert_tf.objectives.masked_lm import MaskedLM

    classes = {x for x in vars(supervised).values() if isinstance(x, type) and hasattr(x, "denominators")}
    used = {type(backends.objective_of(case)) for case in backends.CASES}
    assert used == classes | {MaskedLM}
    assert {kind for case in backends.CASES.values() for kind in case.heads} == set(KINDS)
