import dataclasses
import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
from bert_tf.training.evaluator import Evaluator

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.core.errors import InputError, Preempted
from bert_tf.core.metrics_file import read_metrics
from bert_tf.objectives.masked_lm import BertForPreTraining
from bert_tf.training.data import example_input
from bert_tf.training.data.batches import Batches
from bert_tf.training.engines import strategy
from bert_tf.training.trainer import Trainer
from tests.support.batches import make_pretraining_batch

TRAIN = TrainConfig(
    steps=6, global_batch_size=8, steps_per_loop=2, log_every=1, evaluate_every=6, checkpoint_every=3, seed=1
)
OPTIMIZER = OptimizerConfig(learning_rate=0.01, warmup_steps=2)


class Run:
    """A trainer on 20 fixed rows, which is no multiple of the batch."""

    def __init__(self, config, workdir, strategy_name="single", **changes):
        def model_fn():
            model = BertForPreTraining(config)
            model.build()
            return model

        self.train = dataclasses.replace(TRAIN, **changes)
        self.workdir = str(workdir)
        self.trainer = Trainer(
            model_fn,
            train=self.train,
            optimizer_config=OPTIMIZER,
            strategy=strategy.create(strategy_name),
            workdir=self.workdir,
        )
        self.rows = make_pretraining_batch(config, rows=20)

    def fit(self, validation=None):
        size = self.train.global_batch_size
        self.validation = self.trainer.fit(
            Batches(
                training=lambda first, worker: example_input.training_batches(
                    self.rows, first, worker, global_batch_size=size, seed=self.train.seed
                ),
                validation=validation
                or (lambda worker: example_input.validation_batches(self.rows, worker, global_batch_size=size)),
                sources=lambda first, count: f"rows of batch {first}",
            )
        )
        return self

    @property
    def weights(self) -> list[np.ndarray]:
        return [np.asarray(v) for v in self.trainer.model.trainable_variables]

    @property
    def losses_told(self) -> list[tuple[int, float]]:
        return [(line["step"], line["loss"]) for line in read_metrics(self.workdir)]

    @property
    def losses(self) -> list[float]:
        return [line["loss"] for line in read_metrics(self.workdir) if line["split"] == "train"]


def assert_close(one: Run, other: Run, rtol: float):
    assert len(one.losses) == one.train.steps
    np.testing.assert_allclose(one.losses, other.losses, rtol=rtol)
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert one.validation == pytest.approx(other.validation, rel=1e-4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, small_config_module):
    return Run(small_config_module, tmp_path_factory.mktemp("undisturbed")).fit()


@pytest.fixture(scope="module")
def small_config_module():
    from bert_tf.models.bert.config import BertConfig

    return BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def test_two_mirrored_replicas_compute_the_same_steps(undisturbed, small_config_module, tmp_path):
    mirrored = Run(small_config_module, tmp_path, "mirrored")
    assert mirrored.trainer._strategy.num_replicas_in_sync == 2
    assert_close(undisturbed, mirrored.fit(), rtol=1e-5)


def test_microbatches_compute_the_same_steps(undisturbed, small_config_module, tmp_path):
    assert_close(undisturbed, Run(small_config_module, tmp_path, microbatches=4).fit(), rtol=1e-5)


def test_steps_per_loop_changes_nothing(undisturbed, small_config_module, tmp_path):
    whole = {"log_every": 6, "checkpoint_every": 6}
    other = Run(small_config_module, tmp_path / "six", steps_per_loop=6, **whole)
    assert list(other.trainer._loops(0)) == [6]
    single = Run(small_config_module, tmp_path / "one", steps_per_loop=1, **whole)
    assert list(single.trainer._loops(0)) == [1] * 6
    assert other.fit().losses_told == single.fit().losses_told
    for run in (other, single):
        for a, b in zip(run.weights, undisturbed.weights, strict=True):
            np.testing.assert_array_equal(a, b)


def test_training_lowers_the_loss(small_config_module, tmp_path):
    run = Run(small_config_module, tmp_path, steps=40, log_every=40, evaluate_every=40, checkpoint_every=40).fit()
    before, after = [line["loss"] for line in read_metrics(run.workdir) if line["split"] == "validation"]
    assert after < before - 0.3


@pytest.mark.parametrize("strategy_name", ["single", "mirrored"])
def test_killed_run_continues_bit_identically_with_dropout(small_config_module, tmp_path, strategy_name):
    config = dataclasses.replace(small_config_module, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3)
    whole = Run(config, tmp_path / "whole", strategy_name).fit()

    killed = Run(config, tmp_path / "killed", strategy_name)
    checkpoints = killed.trainer._checkpoints
    save = checkpoints.save

    def save_then_die(state):
        save(state)
        checkpoints.wait()
        raise KeyboardInterrupt

    killed.trainer._checkpoints.save = save_then_die
    with pytest.raises(KeyboardInterrupt):
        killed.fit()
    # What a killed process may leave behind: lines after its checkpoint, the last of them half-written.
    with open(tmp_path / "killed" / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "split": "train", "loss": 99.0}\n{"step": 5, "spl')

    resumed = Run(config, tmp_path / "killed", strategy_name).fit()
    assert resumed.losses == whole.losses
    assert len(resumed.losses) == 6
    for a, b in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed.validation == whole.validation


def test_finished_run_only_evaluates(undisturbed, small_config_module):
    before = read_metrics(undisturbed.workdir)
    again = Run(small_config_module, undisturbed.workdir).fit()
    assert again.validation == pytest.approx(undisturbed.validation, rel=1e-6)
    assert read_metrics(undisturbed.workdir) == before


def test_sigterm_ends_the_evaluation_of_a_finished_run(small_config_module, tmp_path):
    Run(small_config_module, tmp_path).fit()
    again = Run(small_config_module, tmp_path)

    def validation(worker):
        os.kill(os.getpid(), signal.SIGTERM)
        return example_input.validation_batches(again.rows, worker, global_batch_size=8)

    with pytest.raises(Preempted, match="SIGTERM: step 6 of 6 was saved. Give the same command to go on."):
        again.fit(validation)


def test_dropout_differs_between_steps_and_microbatches(small_config_module, tmp_path):
    config = dataclasses.replace(small_config_module, hidden_dropout_prob=0.5)
    run = Run(config, tmp_path / "whole")
    batch = {name: tf.constant(x[:8]) for name, x in run.rows.items()}
    weights = [tf.convert_to_tensor(v) for v in run.trainer.model.trainable_variables]

    def loss(step, replica):
        totals = run.trainer.model.loss_weights(batch)
        sums = run.trainer._device_loop.step.gradients(
            weights, batch, totals, tf.constant(step, tf.int64), tf.constant(replica)
        )[1]
        return float(sums[0, 0])

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(1, 0), loss(0, 1), loss(1, 1)}) == 4
    # Two microbatches with the same rows: drew they alike, the sum would be twice that of one of them.
    half = {name: x[:4] for name, x in batch.items()}
    batch = half
    alone = loss(0, 0)
    batch = {name: tf.concat([x, x], axis=0) for name, x in half.items()}
    run = Run(config, tmp_path / "parts", microbatches=2)
    assert loss(0, 0) != pytest.approx(2 * alone, rel=1e-4)


def test_evaluation_weighs_every_row_once(small_config_module, tmp_path):
    run = Run(small_config_module, tmp_path)
    evaluator = Evaluator(run.trainer.model, strategy.create("single"))
    padded, whole = (
        evaluator.evaluate(lambda _, size=size: example_input.validation_batches(run.rows, global_batch_size=size))
        for size in (8, 20)
    )
    assert padded == pytest.approx(whole, rel=1e-5)


def test_batch_that_does_not_divide_is_refused(small_config_module, tmp_path):
    with pytest.raises(InputError, match="expected a multiple of replicas x microbatches = 2 x 3"):
        Run(small_config_module, tmp_path, "mirrored", microbatches=3)


def test_metrics_lines_are_json_with_the_promised_names(undisturbed):
    with open(f"{undisturbed.workdir}/metrics.jsonl") as file:
        lines = [json.loads(line) for line in file]
    train = [line for line in lines if line["split"] == "train"]
    assert [line["step"] for line in train] == [1, 2, 3, 4, 5, 6]
    names = {"loss", "masked_lm_loss", "next_sentence_loss", "masked_lm_accuracy", "next_sentence_accuracy"}
    assert names | {"learning_rate", "gradient_norm", "examples_per_second"} <= set(train[0])
    assert [line["step"] for line in lines if line["split"] == "validation"] == [0, 6]
    assert train[0]["learning_rate"] == 0.0
    assert train[1]["learning_rate"] == pytest.approx(0.005)


def test_events_open_in_tensorboard(undisturbed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(f"{undisturbed.workdir}/events", size_guidance={"tensors": 0}).Reload()
    assert "train/loss" in events.Tags()["tensors"]
    assert [event.step for event in events.Tensors("train/loss")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("changes", [{"xla": "on"}, {"xla": "off"}, {"xla": "on", "microbatches": 2}])
def test_compiling_changes_only_rounding(undisturbed, small_config_module, tmp_path, changes):
    assert_close(undisturbed, Run(small_config_module, tmp_path, **changes).fit(), rtol=1e-5)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_narrow_activations_compute_nearly_the_same(undisturbed, small_config_module, tmp_path, precision):
    run = Run(small_config_module, tmp_path, precision=precision).fit()
    np.testing.assert_allclose(run.losses, undisturbed.losses, rtol=0.02)
    told = [line.get("loss_scale") for line in read_metrics(run.workdir) if line["split"] == "train"]
    # The first steps find out that 2^15 is not too large, or halve it.
    assert told == [None] * 6 if precision == "mixed_bfloat16" else all(1.0 <= scale <= 2**15 for scale in told)


def test_profile_of_chosen_steps(small_config_module, tmp_path):
    run = Run(small_config_module, tmp_path, profile_steps=(2, 3)).fit()
    assert list(tmp_path.glob("events/plugins/profile/*/*.xplane.pb"))
    assert len(run.losses) == 6


def test_pairless_data_has_no_next_sentence_metrics(small_config_module, tmp_path):
    run = Run(small_config_module, tmp_path)
    run.rows["next_sentence_weights"] = np.zeros_like(run.rows["next_sentence_weights"])
    run.fit()
    for line in read_metrics(run.workdir):
        assert "next_sentence_accuracy" not in line
        assert line["loss"] == line["masked_lm_loss"]


def test_a_log_line_covers_its_steps_across_a_restart(small_config_module, tmp_path):
    whole = Run(small_config_module, tmp_path / "whole", log_every=6, checkpoint_every=4).fit()
    killed = Run(small_config_module, tmp_path / "killed", log_every=6, checkpoint_every=4)
    checkpoints, save = killed.trainer._checkpoints, killed.trainer._checkpoints.save

    def save_then_die(state):
        save(state)
        checkpoints.wait()
        raise KeyboardInterrupt

    checkpoints.save = save_then_die
    with pytest.raises(KeyboardInterrupt):
        killed.fit()
    Run(small_config_module, tmp_path / "killed", log_every=6, checkpoint_every=4).fit()
    lines = [[x for x in read_metrics(str(tmp_path / name)) if x["split"] == "train"] for name in ("whole", "killed")]
    assert [line["step"] for line in lines[0]] == [6]
    assert [line["loss"] for line in lines[0]] == [line["loss"] for line in lines[1]]
    assert whole.train.checkpoint_every % whole.train.log_every


@pytest.mark.parametrize("due", [0, 4])
def test_sigterm_in_an_evaluation_gives_it_up_and_makes_it_later(small_config_module, tmp_path, due):
    changes = {"evaluate_every": 4, "checkpoint_every": 3}
    whole = Run(small_config_module, tmp_path / "whole", **changes).fit()
    stopped = Run(small_config_module, tmp_path / "stopped", **changes)
    asked = []

    def validation(worker):
        asked.append(worker)
        if len(asked) == (1 if due == 0 else 2):
            os.kill(os.getpid(), signal.SIGTERM)
        return example_input.validation_batches(stopped.rows, worker, global_batch_size=8)

    with pytest.raises(Preempted, match=f"SIGTERM: step {due} of 6 is saved"):
        stopped.fit(validation)
    # What a process leaves that made the evaluation and was killed before its next checkpoint.
    with open(tmp_path / "stopped" / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": due, "split": "validation", "loss": 9.0}) + "\n")
    resumed = Run(small_config_module, tmp_path / "stopped", **changes).fit()
    told = [[(x["step"], x["split"], x["loss"]) for x in read_metrics(run.workdir)] for run in (whole, resumed)]
    assert sorted(told[0]) == sorted(told[1])
    for a, b in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(a, b)
