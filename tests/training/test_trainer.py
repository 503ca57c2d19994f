import dataclasses
import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from bert_tf.core.errors import InputError, Preempted
from bert_tf.core.metrics_file import read_metrics
from bert_tf.core.records import RecordLayout
from bert_tf.objectives.masked_lm import MaskedLM
from bert_tf.training.data import example_input
from bert_tf.training.data.batches import Batches
from bert_tf.training.engines.engine import ENGINES, Engine, engine_named
from bert_tf.training.evaluation import evaluate
from tests.support.batches import make_pretraining_batch, without_pairs
from tests.support.training import TRAIN, OneStep, engine, masked_lm, trainer


class Run:
    """A trainer on 20 fixed rows, which is no multiple of the batch."""

    def __init__(self, config, workdir, strategy_name="single", *, objective=None, rows=None, **changes):
        self.train = dataclasses.replace(TRAIN, **changes)
        self.workdir = str(workdir)
        self.trainer = trainer(config, workdir, strategy=strategy_name, objective=objective, **changes)
        self.rows = make_pretraining_batch(config, rows=20) if rows is None else rows

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
    assert mirrored.trainer._engine.replicas == 2
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


class ConstantDenominators(MaskedLM):
    """Its denominators depend on nothing, so TensorFlow could move their sum over replicas out of the loop of steps."""

    def denominators(self, batch):
        return {name: tf.constant(8.0) for name in self.losses}


def test_denominators_may_be_constant_on_two_replicas(small_config_module, tmp_path):
    objective = ConstantDenominators(RecordLayout(max_seq_length=16, max_predictions_per_seq=4))
    runs = [
        Run(small_config_module, tmp_path / strategy, strategy, objective=objective, microbatches=microbatches).fit()
        for strategy, microbatches in (("single", 2), ("mirrored", 1))
    ]
    assert len(runs[1].losses) == 6
    assert_close(*runs, rtol=1e-5)


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

    with pytest.raises(Preempted, match="SIGTERM: step 6 of 6 is saved. Give the same command to go on."):
        again.fit(validation)


def test_dropout_differs_between_steps_replicas_and_microbatches(small_config_module):
    config = dataclasses.replace(small_config_module, hidden_dropout_prob=0.5)
    objective = masked_lm()
    model = objective.make_model(config, "float32")
    rows = {name: x[:8] for name, x in make_pretraining_batch(config, rows=20).items()}

    def loss(batch, step=0, replica=0, **train):
        return OneStep(model, objective, **train).gradients(batch, step, replica)[1][0, 0]

    assert loss(rows) == loss(rows)
    assert len({loss(rows), loss(rows, 1), loss(rows, 0, 1), loss(rows, 1, 1)}) == 4
    # Two microbatches with the same rows: drew they alike, the sum would be twice that of one of them.
    half = {name: x[:4] for name, x in rows.items()}
    twice = {name: np.concatenate([x, x]) for name, x in half.items()}
    for step in range(3):
        # A microbatch's seed follows from its number, so neither is the seed of a batch that is one piece.
        assert loss(twice, step, microbatches=2) != pytest.approx(2 * loss(half, step), rel=1e-4)


def test_evaluation_weighs_every_row_once(small_config_module):
    rows, objective, evaluating = make_pretraining_batch(small_config_module, rows=20), masked_lm(), engine()
    evaluating.place(lambda: objective.make_model(small_config_module, "float32"), objective)
    padded, whole = (
        evaluate(
            evaluating,
            objective,
            lambda worker, size=size: example_input.validation_batches(rows, worker, global_batch_size=size),
        )
        for size in (8, 20)
    )
    assert set(whole) == {"loss", "perplexity", *objective.metrics}
    assert padded == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("strategy_name", ["single", "mirrored"])
def test_evaluation_gives_the_outputs_of_all_rows_in_order(small_config_module, strategy_name):
    rows, objective = make_pretraining_batch(small_config_module, rows=20), masked_lm()
    evaluating = engine(strategy_name)
    model = evaluating.place(lambda: objective.make_model(small_config_module, "float32"), objective)
    scored = {}

    def score(outputs):
        scored.update(outputs)
        return {"rows": len(outputs["next_sentence_logits"])}

    def batches(worker):
        return example_input.validation_batches(rows, worker, global_batch_size=8)

    without = evaluate(evaluating, objective, batches)
    found = evaluate(evaluating, objective, batches, score)
    assert {name: value for name, value in found.items() if name != "rows"} == without
    assert found["rows"] == 24  # the last batch is filled up
    for name, expected in model(rows).items():
        np.testing.assert_allclose(scored[name][:20], expected, atol=1e-5, err_msg=name)


def test_batch_that_does_not_divide_is_refused(small_config_module, tmp_path):
    with pytest.raises(InputError, match="expected a multiple of replicas x microbatches = 2 x 3"):
        Run(small_config_module, tmp_path, "mirrored", microbatches=3)


def test_metrics_lines_are_json_with_the_promised_names(undisturbed):
    with open(f"{undisturbed.workdir}/metrics.jsonl") as file:
        lines = [json.loads(line) for line in file]
    train = [line for line in lines if line["split"] == "train"]
    assert [line["step"] for line in train] == [1, 2, 3, 4, 5, 6]
    names = {"loss", "masked_lm_loss", "next_sentence_loss", "masked_lm_accuracy", "next_sentence_accuracy"}
    assert names | {"learning_rate", "gradient_norm", "examples_per_second", "tokens_per_second"} <= set(train[0])
    # Measured, so it is not what the chip's maker publishes, which nobody does for this processor.
    assert train[0]["matmul_utilization"] > 0
    assert "model_flops_utilization" not in train[0]
    assert "tokens" not in train[0] and "stop" not in train[0]
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


def test_data_whose_pairs_have_no_weight_has_no_next_sentence_metrics(small_config_module, tmp_path):
    run = Run(small_config_module, tmp_path)
    run.rows["next_sentence_weights"] = np.zeros_like(run.rows["next_sentence_weights"])
    run.fit()
    for line in read_metrics(run.workdir):
        assert "next_sentence_accuracy" not in line
        assert line["loss"] == line["masked_lm_loss"]


def test_pairless_data_has_neither_pooler_nor_pair_head_nor_their_metrics(small_config_module, tmp_path):
    rows = without_pairs(make_pretraining_batch(small_config_module, rows=20))
    run = Run(small_config_module, tmp_path, objective=masked_lm(has_pairs=False), rows=rows).fit()
    lines = read_metrics(run.workdir)
    assert len(lines) == 8
    for line in lines:
        assert not any("next_sentence" in name for name in line)
        assert line["loss"] == line["masked_lm_loss"]
    assert run.losses[-1] < run.losses[0]
    with safe_open(f"{run.workdir}/checkpoints/step-0000000006.safetensors", framework="numpy") as file:
        assert not [name for name in file.keys() if "pooler" in name or "next_sentence" in name]  # noqa: SIM118


def test_a_log_line_covers_its_steps_across_a_restart(small_config_module, tmp_path):
    whole = Run(small_config_module, tmp_path / "whole", log_every=6, checkpoint_every=4).fit()
    stopped_at(small_config_module, tmp_path / "killed", 4)
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


# Weights of a checkpoint of version 0.1 for the network of these tests, in its order.
_WEIGHTS_OF_0_1 = [
    "bert/embeddings/word_embeddings",
    "bert/embeddings/position_embeddings",
    "bert/embeddings/token_type_embeddings",
    "bert/embeddings/layer_norm/gamma",
    "bert/embeddings/layer_norm/beta",
    "bert/layer_0/attention/query/kernel",
    "bert/layer_0/attention/query/bias",
    "bert/layer_0/attention/key/kernel",
    "bert/layer_0/attention/key/bias",
    "bert/layer_0/attention/value/kernel",
    "bert/layer_0/attention/value/bias",
    "bert/layer_0/attention/output/kernel",
    "bert/layer_0/attention/output/bias",
    "bert/layer_0/attention_norm/gamma",
    "bert/layer_0/attention_norm/beta",
    "bert/layer_0/intermediate/kernel",
    "bert/layer_0/intermediate/bias",
    "bert/layer_0/output/kernel",
    "bert/layer_0/output/bias",
    "bert/layer_0/output_norm/gamma",
    "bert/layer_0/output_norm/beta",
    "bert/pooler/kernel",
    "bert/pooler/bias",
    "masked_lm/output_bias",
    "masked_lm/transform/kernel",
    "masked_lm/transform/bias",
    "masked_lm/transform_norm/gamma",
    "masked_lm/transform_norm/beta",
    "next_sentence/kernel",
    "next_sentence/bias",
]


def as_0_1_wrote_it(workdir, step: int) -> None:
    """Rewrites a checkpoint: version 0.1 kept the rows "tokens" and "stop" behind the model's four metrics."""
    path = f"{workdir}/checkpoints/step-{step:010d}.safetensors"
    tensors = load_file(path)
    kinds = ("weights", "first", "second")
    assert set(tensors) == {f"{kind}/{name}" for kind in kinds for name in _WEIGHTS_OF_0_1} | {
        "loss_scale",
        "pending_metrics",
    }
    now = tensors["pending_metrics"]
    assert now.shape[1] == 4 + 3  # those of the objective; rate, norm and scale
    tokens, stop = np.full((len(now), 1, 2), (77.0, 1.0)), np.full((len(now), 1, 2), (0.0, 1.0))
    before = np.concatenate([now[:, :4], tokens, stop, now[:, 4:]], axis=1).astype(np.float32)
    metadata = {"step": str(step), "skipped": "0", "owes_evaluation": "0"}
    save_file({**tensors, "pending_metrics": before}, path, metadata)


def stopped_at(config, workdir, step: int, **changes) -> Run:
    """A run that is killed behind its checkpoint of a step."""
    killed = Run(config, workdir, log_every=6, checkpoint_every=step, **changes)
    checkpoints, save = killed.trainer._checkpoints, killed.trainer._checkpoints.save

    def save_then_die(state):
        save(state)
        checkpoints.wait()
        raise KeyboardInterrupt

    checkpoints.save = save_then_die
    with pytest.raises(KeyboardInterrupt):
        killed.fit()
    return killed


def test_a_checkpoint_of_version_0_1_with_metrics_not_logged_yet_goes_on(small_config_module, tmp_path):
    whole = Run(small_config_module, tmp_path / "whole", log_every=6, checkpoint_every=4).fit()
    stopped_at(small_config_module, tmp_path / "old", 4)
    as_0_1_wrote_it(tmp_path / "old", 4)
    resumed = Run(small_config_module, tmp_path / "old", log_every=6, checkpoint_every=4).fit()
    (line,) = (x for x in read_metrics(resumed.workdir) if x["split"] == "train")
    (expected,) = (x for x in read_metrics(whole.workdir) if x["split"] == "train")
    assert line["step"] == 6
    for name in (*masked_lm().metrics, "loss", "learning_rate", "gradient_norm"):
        assert line[name] == expected[name], name
    for a, b in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_pairless_checkpoint_of_version_0_1_goes_on(small_config_module, tmp_path):
    """It had a pooler and a pair head that never learned, and four metrics of which two had no weight."""
    rows = without_pairs(make_pretraining_batch(small_config_module, rows=20))
    objective = masked_lm(has_pairs=False)
    whole = Run(small_config_module, tmp_path / "whole", objective=objective, rows=rows, checkpoint_every=4).fit()
    stopped_at(small_config_module, tmp_path / "old", 4, objective=objective, rows=rows)
    path = str(tmp_path / "old/checkpoints/step-0000000004.safetensors")
    tensors = {name: x for name, x in load_file(path).items() if name != "pending_metrics"}
    for kind in ("weights", "first", "second"):
        tensors |= {f"{kind}/bert/pooler/kernel": np.zeros((8, 8), np.float32)}
        tensors |= {f"{kind}/next_sentence/kernel": np.zeros((8, 2), np.float32)}
    pending = {"pending_metrics": np.zeros((4, 4 + 2 + 3, 2), np.float32)}
    save_file({**tensors, **pending}, path, {"step": "4", "skipped": "0", "owes_evaluation": "0"})
    resumed = Run(
        small_config_module, tmp_path / "old", objective=objective, rows=rows, log_every=6, checkpoint_every=4
    ).fit()
    (line,) = (x for x in read_metrics(resumed.workdir) if x["split"] == "train")
    losses = whole.losses[4:]
    assert line["step"] == 6
    assert min(losses) <= line["loss"] <= max(losses)  # of the last two steps
    for a, b in zip(resumed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_table_of_engines_names_what_is_asked_for():
    assert engine_named("tensorflow") is type(engine())
    with pytest.raises(InputError, match=r"train.engine=torch: expected one of tensorflow"):
        engine_named("torch")
    members = [name for name in vars(Engine) if not name.startswith("_")]
    assert {"place", "run", "evaluate", "read_state", "write_state"} <= set(members)
    for name in ENGINES:
        assert all(hasattr(engine_named(name), member) for member in members), name


def test_what_an_engine_reads_it_writes_back(small_config_module, tmp_path):
    run = Run(small_config_module, tmp_path).fit()
    other = Run(dataclasses.replace(small_config_module), tmp_path / "other", seed=2)
    state = run.trainer._engine.read_state()
    assert {name: x.shape for name, x in state.items()} == run.trainer._engine.state_shapes()
    assert any((a != b).any() for a, b in zip(run.weights, other.weights, strict=True))
    other.trainer._engine.write_state(state)
    for a, b in zip(run.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, value in other.trainer._engine.read_state().items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)
