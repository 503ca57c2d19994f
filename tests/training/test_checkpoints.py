import os
import resource

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_tf.core.errors import InputError, StorageError
from bert_tf.training.workdir.checkpoints import Checkpoints, State


class FakeEngine:
    """Two weights, their slots and the loss scale."""

    def __init__(self, size: int):
        shapes = {"a/kernel": (size,), "b/kernel": (2, 2)}
        kinds = ("weights", "first", "second")
        self.state = {f"{kind}/{name}": np.zeros(s, np.float32) for kind in kinds for name, s in shapes.items()}
        self.state["loss_scale"] = np.array([1.0, 0.0], np.float32)

    def read_state(self):
        return {name: value.copy() for name, value in self.state.items()}

    def write_state(self, state):
        self.state |= state

    def state_shapes(self):
        return {name: value.shape for name, value in self.state.items()}


class Run:
    """Checkpoints of a fake engine."""

    def __init__(self, workdir, keep=2, size=4, **settings):
        self.engine = FakeEngine(size)
        self.checkpoints = Checkpoints(str(workdir), self.engine, keep=keep, **settings)

    def fill(self, value):
        for number, array in enumerate(self.engine.state.values()):
            array[:] = value + number / 10

    def save(self, step, **state):
        self.fill(step)
        self.checkpoints.save(State(step, **state))
        self.checkpoints.wait()


def assert_filled(run, value):
    for number, (name, array) in enumerate(run.engine.state.items()):
        np.testing.assert_array_equal(array, np.full(array.shape, np.float32(value + number / 10)), err_msg=name)


def test_everything_comes_back(tmp_path):
    run = Run(tmp_path)
    assert run.checkpoints.restore() == State()
    pending = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    run.save(7, skipped=5, pending=pending)
    other = Run(tmp_path)
    state = other.checkpoints.restore()
    assert (state.step, state.skipped) == (7, 5)
    np.testing.assert_array_equal(state.pending, pending)
    assert_filled(other, 7)


def test_what_is_saved_is_what_was_there_when_it_was_asked_for(tmp_path):
    run = Run(tmp_path, size=3_000_000)
    run.fill(1)
    run.checkpoints.save(State(1))
    run.fill(2)  # while it is being written
    run.checkpoints.wait()
    run.checkpoints.restore()
    assert_filled(run, 1)


def test_the_last_ones_and_the_best_stay(tmp_path):
    run = Run(tmp_path)
    for step, loss in ((1, 3.0), (2, 2.0), (3, 2.5), (4, 2.0)):
        run.save(step)
        run.checkpoints.save_if_best(State(step), loss)
        run.checkpoints.wait()
    names = sorted(os.listdir(tmp_path / "checkpoints"))
    assert names == ["best.safetensors", "step-0000000003.safetensors", "step-0000000004.safetensors"]
    # A new process knows how good the best was, and an equal one is not better.
    again = Run(tmp_path)
    again.checkpoints.restore()
    best = (tmp_path / "checkpoints" / "best.safetensors").read_bytes()
    again.checkpoints.save_if_best(State(5), 2.0)
    again.checkpoints.wait()
    assert (tmp_path / "checkpoints" / "best.safetensors").read_bytes() == best
    again.checkpoints.save_if_best(State(5), 1.0)
    again.checkpoints.wait()
    assert (tmp_path / "checkpoints" / "best.safetensors").read_bytes() != best


def test_the_best_one_holds_weights_only_and_gives_them_back(tmp_path):
    run = Run(tmp_path)
    assert run.checkpoints.restore_best() is None
    run.fill(1)
    run.checkpoints.save_if_best(State(3), 0.5)
    run.checkpoints.wait()
    best = tmp_path / "checkpoints" / "best.safetensors"
    assert set(load_file(best)) == {"weights/a/kernel", "weights/b/kernel"}
    run.fill(7)
    assert run.checkpoints.restore_best() == 3
    expected = Run(tmp_path / "other")
    expected.fill(7)
    for name, value in run.engine.state.items():
        number = list(run.engine.state).index(name)
        wanted = np.float32((1 if name.startswith("weights/") else 7) + number / 10)
        np.testing.assert_array_equal(value, np.full(value.shape, wanted), err_msg=name)
    best.write_bytes(b"broken")
    with pytest.raises(StorageError, match="best.safetensors: expected the best checkpoint. Received one that cannot"):
        run.checkpoints.restore_best()


def test_the_best_one_of_version_0_1_opens(tmp_path):
    """It held the optimizer's moments too."""
    run = Run(tmp_path)
    run.fill(2)
    path = tmp_path / "checkpoints" / "best.safetensors"
    path.parent.mkdir()
    metadata = {"step": "5", "skipped": "0", "owes_evaluation": "0", "loss": "0.25"}
    save_file({**run.engine.read_state(), "pending_metrics": np.zeros((1, 9, 2), np.float32)}, path, metadata)
    other = Run(tmp_path)
    other.checkpoints.restore()
    assert other.checkpoints.best_step == 5
    assert other.checkpoints.restore_best() == 5
    for name in ("weights/a/kernel", "weights/b/kernel"):
        np.testing.assert_array_equal(other.engine.state[name], run.engine.state[name])
    assert not other.engine.state["first/a/kernel"].any()


def test_a_full_disk_keeps_the_last_good_one(tmp_path):
    run = Run(tmp_path, size=100_000)
    run.save(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses to write on, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        run.fill(2)
        run.checkpoints.save(State(2))
        with pytest.raises(StorageError, match="expected to write a checkpoint of 1 MB; the one of step 1 is kept"):
            run.checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path / "checkpoints") == ["step-0000000001.safetensors"]
    assert run.checkpoints.restore().step == 1
    assert_filled(run, 1)
    run.save(2)
    assert Run(tmp_path, size=100_000).checkpoints.restore().step == 2


def test_a_checkpoint_that_cannot_take_its_name_is_one_sentence(tmp_path):
    run = Run(tmp_path)
    (tmp_path / "checkpoints/step-0000000001.safetensors/x").mkdir(parents=True)
    run.checkpoints.save(State(1))
    with pytest.raises(StorageError, match="MB; .* Received: Is a directory. Once it can be written, the same"):
        run.checkpoints.wait()


def test_a_broken_file_is_put_aside(tmp_path, capsys):
    run = Run(tmp_path)
    run.save(1)
    run.checkpoints.save_if_best(State(1), 1.0)
    run.checkpoints.wait()
    best = tmp_path / "checkpoints" / "best.safetensors"
    best.write_bytes(best.read_bytes()[:50])
    run.save(2)
    path = tmp_path / "checkpoints" / "step-0000000002.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    (tmp_path / "checkpoints" / "step-0000000003.safetensors.tmp").write_bytes(b"half")
    assert run.checkpoints.restore().step == 1
    assert_filled(run, 1)
    assert "step-0000000002.safetensors: cannot be read" in capsys.readouterr().out
    assert not (tmp_path / "checkpoints" / "step-0000000003.safetensors.tmp").exists()
    assert run.checkpoints.rewind(1, lambda: None).step == 1
    run.checkpoints.save_if_best(State(1), float("nan"))
    run.checkpoints.wait()
    assert not best.exists()
    run.checkpoints.save_if_best(State(1), 5.0)
    run.checkpoints.wait()
    assert best.exists()


def test_another_model_is_refused(tmp_path):
    Run(tmp_path).save(1)
    with pytest.raises(InputError, match=r"weights/a/kernel: expected shape \(5,\). Received \(4,\)"):
        Run(tmp_path, size=5).checkpoints.restore()


def test_going_back_forgets_what_came_after(tmp_path):
    run = Run(tmp_path, keep=3)
    for step in (1, 2, 3):
        run.save(step)
    assert run.checkpoints.rewind(2, lambda: None).step == 2
    assert_filled(run, 2)
    assert run.checkpoints.steps() == [1, 2]
    assert run.checkpoints.rewind(3, lambda: None).step == 1  # as far as there is
    assert run.checkpoints.steps() == [1]
    (tmp_path / "checkpoints/step-0000000001.safetensors").unlink()
    with pytest.raises(InputError, match="expected a checkpoint to go back to. Received none"):
        run.checkpoints.rewind(1, lambda: None)


def test_going_back_passes_by_what_cannot_be_read(tmp_path, capsys):
    run = Run(tmp_path, keep=3)
    for step in (1, 2, 3):
        run.save(step)
    (tmp_path / "checkpoints/step-0000000002.safetensors").write_bytes(b"broken")
    assert run.checkpoints.rewind(2, lambda: None).step == 1
    assert_filled(run, 1)
    assert run.checkpoints.steps() == [1]
    assert "step-0000000002.safetensors: cannot be read" in capsys.readouterr().out


def test_only_the_writer_writes(tmp_path):
    reader = Run(tmp_path, is_writer=False)
    reader.save(1)
    reader.checkpoints.save_if_best(State(1), 1.0)
    reader.checkpoints.wait()
    assert not (tmp_path / "checkpoints").exists()
