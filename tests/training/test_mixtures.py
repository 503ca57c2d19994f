import functools
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from bert_tf.core import record_files, records
from bert_tf.core.config import PretrainDataConfig
from bert_tf.core.errors import InputError
from bert_tf.training.data import shard_folder, shard_input
from bert_tf.training.data.shard_folder import ShardFolder
from bert_tf.training.worker import Worker
from tests.support.data.mixed_run import pretrain_command

ROOT = pathlib.Path(__file__).parents[2]
WEIGHTS = (0.7, 0.3)


@pytest.fixture
def folders(mixed) -> list[ShardFolder]:
    return [ShardFolder.open(str(mixed / name), "data.train") for name in ("web", "books")]


def batches(folders, start, count, *, workers=1, readers=2, **settings):
    """The global batches, put together from those of the workers."""
    streams = [
        itertools.islice(
            iter(
                shard_input.training_batches(
                    folders, start, Worker(index, workers), global_batch_size=20, seed=3, readers=readers, **settings
                )
            ),
            count,
        )
        for index in range(workers)
    ]
    return [np.concatenate([part["input_word_ids"] for part in parts]) for parts in zip(*streams, strict=True)]


def test_batches_hold_the_rows_that_the_order_names(folders):
    mixture = shard_input.mixture_of(folders, global_batch_size=20, seed=3, weights=WEIGHTS, readers=2)
    stored = {}
    for source, folder in enumerate(folders):
        for shard in folder.split("train"):
            with open(f"{folder.path}/{shard['name']}", "rb") as file:
                serialized = list(record_files.read_records(file))
            stored[source, shard["name"]] = records.parse(serialized, folder.layout)["input_word_ids"].numpy()
    # 160 batches are more than an epoch of both.
    assert min(mixture.epochs(160).values()) > 1
    for number, batch in enumerate(batches(folders, 0, 160, weights=WEIGHTS)):
        expected = [stored[source, shard][row] for source, shard, row in mixture.records(number)]
        np.testing.assert_array_equal(batch, expected)


def test_a_restart_and_other_workers_read_the_same_batches(folders):
    whole = batches(folders, 0, 12, weights=WEIGHTS)
    np.testing.assert_array_equal(batches(folders, 5, 7, weights=WEIGHTS), whole[5:])
    np.testing.assert_array_equal(batches(folders, 5, 7, weights=WEIGHTS, workers=2), whole[5:])


def test_validation_takes_a_share_of_each_folder(folders):
    sizes = [sum(shard["examples"] for shard in folder.split("validation")) for folder in folders]
    found = functools.partial(shard_input.validation_batches, folders, "data.train", global_batch_size=1)
    rows = [batch["input_word_ids"].numpy()[0].tolist() for batch in found(examples=None)]
    assert len(rows) == sum(sizes)
    some = [batch["input_word_ids"].numpy()[0].tolist() for batch in found(examples=6)]
    first = 6 * sizes[0] // sum(sizes)
    assert some == rows[:first] + rows[sizes[0] : sizes[0] + 6 - first]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_seq_length": 32}, "books: expected shards with max_seq_length=64, as .*web has it. Received .* with 32"),
        ({"has_pairs": False}, "books: expected shards with has_pairs=True, as .*web has it. Received .* with False"),
        ({"max_sequences_per_row": 0}, "expected shards with max_sequences_per_row=4, .* Received shards with 0"),
    ],
)
def test_folders_of_another_layout_are_refused(folders, mixed, tmp_path, change, sentence):
    copy = shutil.copytree(mixed / "books", tmp_path / "books")
    manifest = json.loads((copy / "dataset.json").read_text())
    manifest["layout"] |= change
    (copy / "dataset.json").write_text(json.dumps(manifest))
    other = ShardFolder.open(str(copy), "data.train")
    shard_folder.check_alike(folders, "data.train")
    with pytest.raises(InputError, match=sentence):
        shard_folder.check_alike([folders[0], other], "data.train")


def test_weights_that_do_not_fit_are_refused():
    data = PretrainDataConfig(train=("a", "b"), weights=(2, 1))
    assert data.train_folders == ("a", "b") and PretrainDataConfig(train="a").train_folders == ("a",)
    with pytest.raises(InputError, match="one number for each of the 2 folders of data.train. Received: 1"):
        PretrainDataConfig(train=("a", "b"), weights=(1,))
    with pytest.raises(InputError, match="data.weights must be positive. Received: 1, 0"):
        PretrainDataConfig(train=("a", "b"), weights=(1, 0))
    with pytest.raises(InputError, match="data.train must name each folder once. Received: a, a"):
        PretrainDataConfig(train=("a", "a"))


def lines_of(workdir) -> list[dict]:
    """metrics.jsonl without what depends on the clock."""
    clock = ("per_second", "utilization")
    found = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.endswith(clock)} for line in found]


def test_a_killed_run_goes_on_with_the_same_bits_and_reports_epochs(mixed, mixed_run, tmp_path):
    whole, killed = mixed_run, tmp_path / "killed"
    out = (whole / "out.txt").read_text()
    assert "data.train: web: " in out and "70.00% of each batch" in out
    command = pretrain_command(mixed, killed)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(killed.glob("checkpoints/step-*8.safetensors")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming at step" in resumed.stdout
    weights = "model/model.safetensors"
    assert (killed / weights).read_bytes() == (whole / weights).read_bytes()
    assert lines_of(killed) == lines_of(whole)
    last = [line for line in lines_of(whole) if line["split"] == "train"][-1]
    mixture = shard_input.mixture_of(
        [ShardFolder.open(str(mixed / name), "data.train") for name in ("web", "books")],
        global_batch_size=8,
        seed=12345,
        weights=WEIGHTS,
    )
    for name, order, rows in zip(("web", "books"), mixture.orders, (134, 58), strict=True):  # of 192, 134.4 and 57.6
        assert last[f"epochs/{name}"] == pytest.approx(rows / order.examples)
    command = pretrain_command(mixed, killed, "data.weights=0.6,0.4")
    changed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert changed.returncode == 1
    assert "differing in data.weights (there [0.7, 0.3], now [0.6, 0.4])" in changed.stderr


def test_temperatures_are_printed(mixed, command):
    sizes = [
        sum(shard["examples"] for shard in ShardFolder.open(str(mixed / name), "").split("train"))
        for name in ("web", "books")
    ]
    done = command("bert_tf.mixture", "--train", mixed / "web", "--train", mixed / "books", "--temperature", "0.5")
    assert done.returncode == 0, done.stderr
    share = round(sizes[0] ** 0.5 / (sizes[0] ** 0.5 + sizes[1] ** 0.5), 4)
    assert f"0.5: --set data.train={mixed}/web,{mixed}/books --set data.weights={share:g}," in done.stdout
    gone = command("bert_tf.mixture", "--train", mixed / "gone")
    assert gone.returncode == 1 and "gone/dataset.json: expected a JSON file" in gone.stderr
