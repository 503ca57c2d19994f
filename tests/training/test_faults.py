"""What ends a run before its last step."""

import dataclasses
import json
import resource
import shutil

import numpy as np
import pytest

from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.core.errors import InputError, StorageError
from bert_tf.core.metrics_file import read_metrics
from bert_tf.runs import pretraining
from bert_tf.training.data import example_input
from bert_tf.training.data.batches import Batches
from bert_tf.training.engines import strategy
from bert_tf.training.faults import Fault, first_fault
from bert_tf.training.trainer import Trainer
from bert_tf.training.workdir.monitoring import Monitor
from tests.support.batches import make_pretraining_batch
from tests.support.training import trainer as trainer_of

_RUN = {"steps": 10, "evaluate_every": 10, "checkpoint_every": 2}


def made(small_config, workdir, *, learning_rate=0.01, **changes) -> Trainer:
    optimizer = OptimizerConfig(learning_rate=learning_rate, warmup_steps=2, clip_norm=None)
    return trainer_of(small_config, workdir, optimizer=optimizer, **{**_RUN, **changes})


def fit(small_config, workdir, rows, **changes) -> Trainer:
    trainer = made(small_config, workdir, **changes)

    def training(first, worker):
        return example_input.training_batches(rows, first, worker, global_batch_size=8, seed=3)

    trainer.fit(Batches(training=training, validation=None, sources=lambda first, count: f"rows of batch {first}"))
    return trainer


def poisoned(small_config, batch: int):
    """200 rows, one of which, in the given batch, has a weight that is no number."""
    rows = make_pretraining_batch(small_config, rows=200)
    order = np.random.default_rng([3, 0]).permutation(200)
    rows["masked_lm_weights"][order[batch * 8 + 3], 0] = np.nan
    return rows


def test_a_loss_that_is_no_number_stops_and_names_the_batch(small_config, tmp_path):
    with pytest.raises(InputError) as error:
        fit(small_config, tmp_path, poisoned(small_config, batch=5))
    sentence = str(error.value)
    assert sentence.startswith("step 5: expected finite losses and gradients. Received masked_lm_loss nan")
    assert "from batch 5 (rows of batch 5)" in sentence
    assert "train.on_nonfinite=rewind" in sentence
    # Nothing is told or saved that came of the fault.
    assert [line["step"] for line in read_metrics(str(tmp_path))] == [1, 2, 3, 4, 5]
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())][-1] == "step-0000000004.safetensors"


def test_rewinding_skips_the_batches(small_config, tmp_path, capsys):
    trainer = fit(
        small_config, tmp_path / "rewound", poisoned(small_config, batch=5), on_nonfinite="rewind", rewind_checkpoints=2
    )
    assert "Going back to step 2; 4 batches are skipped." in capsys.readouterr().out
    assert [line["step"] for line in read_metrics(str(tmp_path / "rewound"))] == list(range(1, 11))
    # The same as a run whose data never had batches 2 to 5.
    rows = poisoned(small_config, batch=5)
    order = np.random.default_rng([3, 0]).permutation(200)
    kept = np.concatenate([order[: 2 * 8], order[6 * 8 : 14 * 8]])
    in_order = {name: x[kept] for name, x in rows.items()}

    def ordered(first, worker):
        import itertools

        import tensorflow as tf

        signature = {name: tf.TensorSpec((8, *x.shape[1:]), x.dtype) for name, x in in_order.items()}
        return tf.data.Dataset.from_generator(
            lambda: ({name: x[i * 8 : i * 8 + 8] for name, x in in_order.items()} for i in itertools.count(first)),
            output_signature=signature,
        )

    whole = made(small_config, tmp_path / "whole")
    whole.fit(Batches(training=ordered, validation=None, sources=lambda first, count: ""))
    for ours, theirs in zip(trainer.model.trainable_variables, whole.model.trainable_variables, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_a_second_fault_behind_the_first_is_skipped_too(small_config, tmp_path, capsys):
    rows = poisoned(small_config, batch=5)
    order = np.random.default_rng([3, 0]).permutation(200)
    rows["masked_lm_weights"][order[7 * 8], 0] = np.nan
    fit(small_config, tmp_path, rows, on_nonfinite="rewind")
    out = capsys.readouterr().out
    # Batches 4 and 5 are skipped, step 4 takes batch 6 and step 5 the bad batch 7, and then 6 and 7 are skipped too.
    assert "Going back to step 4; 2 batches are skipped." in out
    assert "step 5: expected finite losses and gradients." in out
    assert "from batch 7" in out
    assert "Going back to step 4; 4 batches are skipped." in out
    assert [line["step"] for line in read_metrics(str(tmp_path))] == list(range(1, 11))


def test_two_faults_close_together_go_back_as_far_as_there_is(small_config, tmp_path, capsys):
    rows = poisoned(small_config, batch=5)
    order = np.random.default_rng([3, 0]).permutation(200)
    rows["masked_lm_weights"][order[7 * 8], 0] = np.nan
    fit(small_config, tmp_path, rows, on_nonfinite="rewind", rewind_checkpoints=2)
    out = capsys.readouterr().out
    # Back from step 5 to 2, whose next batch is 6; step 3 then takes batch 7, and step 2 is the only one to go back to.
    assert "Going back to step 2; 4 batches are skipped." in out
    assert "step 3: expected finite losses and gradients." in out and "from batch 7" in out
    assert "Going back to step 2; 6 batches are skipped." in out
    assert [line["step"] for line in read_metrics(str(tmp_path))] == list(range(1, 11))


def test_the_first_fault_of_some_steps():
    names = ["a_loss", "hits", "learning_rate", "gradient_norm", "loss_scale"]
    good = np.ones((4, 5, 2), np.float32)

    def found(*changes, scaled=False):
        metrics = good.copy()
        for step, name, value in changes:
            metrics[step, names.index(name), 0] = value
        return first_fault(names, metrics, 10, losses=["a_loss"], scaled=scaled)

    assert found() is None
    assert found((1, "hits", np.nan)) is None  # nothing is learned from it
    assert found((2, "a_loss", np.nan)) == Fault(12, "a_loss nan")
    assert found((3, "a_loss", np.inf), (1, "gradient_norm", np.inf)) == Fault(11, "gradient_norm inf")
    assert found((0, "a_loss", np.nan), (0, "gradient_norm", np.nan)) == Fault(10, "a_loss nan, gradient_norm nan")
    # An overflow in float16 lowers the scale, as long as it is above 1; a loss is a fault at any scale.
    assert found((1, "gradient_norm", np.inf), (1, "loss_scale", 2.0), scaled=True) is None
    assert found((1, "gradient_norm", np.inf), (1, "loss_scale", 1.0), scaled=True) == Fault(11, "gradient_norm inf")
    assert found((1, "a_loss", np.nan), (1, "loss_scale", 2.0), scaled=True) == Fault(11, "a_loss nan")


def test_rewinding_without_end_is_given_up(small_config, tmp_path):
    rows = make_pretraining_batch(small_config, rows=200)
    # At this rate every batch ends in numbers that are none.
    with pytest.raises(InputError, match="step 2: expected finite .* It is the 11th time in this process"):
        fit(small_config, tmp_path, rows, learning_rate=1e30, on_nonfinite="rewind")


def test_a_fault_before_the_first_checkpoint_is_told(small_config, tmp_path):
    with pytest.raises(InputError, match="step 1: expected finite .* a checkpoint to go back to. Received none"):
        fit(small_config, tmp_path, poisoned(small_config, batch=1), on_nonfinite="rewind")


def config_for(shards, **changes) -> PretrainConfig:
    from bert_tf.models.bert.config import preset

    sizes = {"vocab_size": 1000, "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 64}
    train = {"steps": 4, "global_batch_size": 16, "steps_per_loop": 2, "log_every": 2, "strategy": "single"}
    return PretrainConfig(
        model=preset("tiny", **sizes),
        data=PretrainDataConfig(train=str(shards), max_seq_length=64, max_predictions_per_seq=10),
        train=TrainConfig(**{**train, "evaluate_examples": 16, **changes}),
    )


def test_a_run_does_not_begin_or_go_on_with_what_does_not_fit(shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    pretraining.run(config_for(copy), str(tmp_path / "run"))
    manifest = json.loads((copy / "dataset.json").read_text())
    manifest["shards"][0]["sha256"] = "0" * 64  # as shards of another seed have it
    (copy / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(
        InputError,
        match=r"shards.json: expected the sha256 that its run began with, \w{64}. Received: \w{64}. Take another --w",
    ):
        pretraining.run(config_for(copy), str(tmp_path / "run"))
    one_type = dataclasses.replace(config_for(shards).model, type_vocab_size=1)
    with pytest.raises(InputError, match="model.type_vocab_size=1: expected at least 2, since the shards of"):
        pretraining.run(dataclasses.replace(config_for(shards), model=one_type), str(tmp_path / "pairs"))
    (tmp_path / "full/model").mkdir(parents=True)
    (tmp_path / "full/model/mine.txt").write_text("x")
    with pytest.raises(InputError, match="--workdir .*full/model: expected no folder, or one of an older model"):
        pretraining.run(config_for(shards), str(tmp_path / "full"))


def test_a_corrupt_record_names_shard_and_offset(shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    for path in copy.glob("pretrain-train*"):
        data = bytearray(path.read_bytes())
        data[5000] ^= 1
        path.write_bytes(data)
    with pytest.raises(InputError) as error:
        pretraining.run(config_for(copy), str(tmp_path / "run"))
    assert "steps 0 to 2: expected readable data. Received: " in str(error.value)
    assert "pretrain-train.tfrecord-0000" in str(error.value)
    assert "the record at byte" in str(error.value)


def test_a_corrupt_validation_record_is_named(shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    path = next(copy.glob("pretrain-validation*"))
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="the evaluation at step 0: expected readable data. .*validation.*byte"):
        pretraining.run(config_for(copy), str(tmp_path / "run"))


def test_metrics_that_cannot_be_written(tmp_path):
    monitor = Monitor(str(tmp_path), start_step=0, total_steps=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))  # the kernel refuses to write on, as a full disk does
    try:
        with pytest.raises(StorageError, match="metrics.jsonl: expected to write the metrics of step 1. "):
            monitor.write(1, "train", {"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_is_no_number_is_no_json(tmp_path):
    Monitor(str(tmp_path), start_step=0, total_steps=1).write(1, "train", {"loss": 1.0, "perplexity": float("inf")})
    assert read_metrics(str(tmp_path)) == [{"step": 1, "split": "train", "loss": 1.0}]


def test_a_step_that_does_not_fit_says_what_to_change(small_config, tmp_path):
    length = 300_000  # its attention scores are some terabytes
    config = dataclasses.replace(small_config, max_position_embeddings=length)
    rows = {name: np.zeros((8, length), np.int32) for name in ("input_word_ids", "input_mask", "input_type_ids")}
    rows |= {name: np.zeros((8, 2), np.int32) for name in ("masked_lm_positions", "masked_lm_ids")}
    rows["masked_lm_weights"] = np.ones((8, 2), np.float32)
    rows["next_sentence_labels"] = np.zeros((8, 1), np.int32)
    rows["next_sentence_weights"] = np.ones((8, 1), np.float32)
    with pytest.raises(InputError) as error:
        fit(config, tmp_path, rows)
    sentence = str(error.value)
    assert sentence.startswith("train.global_batch_size=8: expected a step that fits into the device's memory.")
    assert "Set train.microbatches (now 1) to a larger number" in sentence
    assert "train.precision to mixed_bfloat16" in sentence


def test_workers_without_their_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(InputError, match="train.strategy=multi_worker: expected TF_CONFIG like .* Received none."):
        strategy.this_worker("multi_worker")
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    for task, expected in (({"type": "chief", "index": 0}, (0, 3)), ({"type": "worker", "index": 1}, (2, 3))):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        assert strategy.this_worker("auto") == expected
    for text in ("{", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 2}})):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(InputError, match="Received: "):
            strategy.this_worker("multi_worker")
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}))
    with pytest.raises(InputError, match="Received a cluster with 'ps'"):
        strategy.this_worker("multi_worker")
    assert strategy.this_worker("single") == (0, 1)


def test_a_tpu_that_is_not_there():
    with pytest.raises(InputError, match="train.strategy=tpu: expected a TPU on this host"):
        strategy.create("tpu")
