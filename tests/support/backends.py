"""Models, objectives, tuning and the optimizer's update, computed on whatever backend Keras has.

python -m tests.support.backends FOLDER reads FOLDER/CASE/weights.npz and batch.npz and writes jax.npz there.
"""

import contextlib
import importlib
import importlib.abc
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from bert_tf.core.config import OptimizerConfig, TuningConfig
from bert_tf.core.records import RecordLayout
from bert_tf.models import tuning
from bert_tf.models.bert.config import BertConfig
from bert_tf.models.compiled import compiled
from bert_tf.models.family import records
from bert_tf.models.model import INPUTS, make_model
from bert_tf.objectives.masked_lm import MaskedLM
from bert_tf.objectives.supervised import Contrastive, Cosine, SeveralLabels, Spans, SquaredError, Supervised
from bert_tf.training import optimizer
from bert_tf.training.optimizer import Slots
from bert_tf.training.step import Step
from tests.support.batches import make_pretraining_batch, without_pairs

CONFIG = BertConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.3,
)


class Case(NamedTuple):
    """A model and what it learns.

    Attributes:
      heads: see make_model.
      objective: makes it.
      labels: features beside the model's inputs, [8, ...].
      tuning: which weights learn.
      texts: of a row; 1: rows are texts.
      model: more arguments of make_model.
    """

    heads: dict[str, dict]
    objective: Callable[[], Any]
    labels: dict[str, Any] = {}
    tuning: TuningConfig = TuningConfig()
    texts: int = 1
    model: dict[str, Any] = {}


def _layout(**changes) -> RecordLayout:
    return RecordLayout(max_seq_length=16, max_predictions_per_seq=4, **changes)


_EIGHT = np.arange(8)
_WEIGHTS = (0.5 + _EIGHT % 2).astype(np.float32)
_CLASSES = {"label_ids": (_EIGHT % 3).astype(np.int32), "label_weights": _WEIGHTS}
_TAGS = {
    "label_ids": (np.arange(128).reshape(8, 16) % 3).astype(np.int32),
    "label_weights": (np.arange(128).reshape(8, 16) % 4 > 0).astype(np.float32),
    "label_smoothing": np.full(8, 0.1, np.float32),
}
_NO_DROPOUT = {"dropout": 0.0}
CASES = {
    "pairs": Case({"masked_lm": {}, "pair": {}}, lambda: MaskedLM(_layout())),
    "packed": Case({"masked_lm": {}, "pair": {}}, lambda: MaskedLM(_layout(max_sequences_per_row=2))),
    "pairless": Case({"masked_lm": {}}, lambda: MaskedLM(_layout(has_pairs=False))),
    "classification": Case(
        {"sequence": {"units": 3, **_NO_DROPOUT}}, lambda: Supervised("classification_loss"), _CLASSES
    ),
    "lora": Case(
        {"sequence": {"units": 3, **_NO_DROPOUT}},
        lambda: Supervised("classification_loss"),
        _CLASSES,
        TuningConfig(method="lora", lora_rank=2),
    ),
    "adapters": Case(
        {"sequence": {"units": 3, **_NO_DROPOUT}},
        lambda: Supervised("classification_loss"),
        _CLASSES,
        TuningConfig(method="adapters", adapter_size=3),
        model={"adapter_size": 3},
    ),
    "frozen": Case(
        {"tokens": {"units": 3, **_NO_DROPOUT}},
        lambda: Supervised("tagging_loss"),
        _TAGS,
        TuningConfig(frozen_layers=1, layer_decay=0.5),
    ),
    "several": Case(
        {"sequence": {"units": 2, **_NO_DROPOUT}},
        lambda: SeveralLabels("multi_label_loss"),
        {"label_values": (np.arange(16).reshape(8, 2) % 3 > 0).astype(np.float32), "label_weights": _WEIGHTS},
    ),
    "regression": Case(
        {"sequence": {"units": 1, **_NO_DROPOUT}},
        lambda: SquaredError("regression_loss"),
        {"label_values": _EIGHT[:, None].astype(np.float32) / 8, "label_weights": _WEIGHTS},
    ),
    "spans": Case(
        {"spans": {}},
        Spans,
        {
            "start_positions": (_EIGHT % 4).astype(np.int32),
            "end_positions": (4 + _EIGHT % 4).astype(np.int32),
            "label_weights": _WEIGHTS,
        },
    ),
    "choices": Case(
        {"choices": _NO_DROPOUT},
        lambda: Supervised("choice_loss"),
        {"label_ids": (_EIGHT % 2).astype(np.int32), "label_weights": _WEIGHTS},
        texts=2,
    ),
    "cosine": Case(
        {"embedding": {"pooling": "mean"}},
        Cosine,
        {"label_values": _EIGHT.astype(np.float32) / 8, "label_weights": _WEIGHTS},
        texts=2,
    ),
    "contrastive": Case(
        {"embedding": {"pooling": "cls", "normalize": False}},
        lambda: Contrastive(group=4, scale=5.0),
        {"label_weights": (_EIGHT < 7).astype(np.float32)},
        texts=2,
    ),
}


def objective_of(case: str):
    return CASES[case].objective()


def batch_of(case: str) -> dict[str, np.ndarray]:
    """Eight rows."""
    found = CASES[case]
    batch = make_pretraining_batch(CONFIG, rows=8 * found.texts)
    if "masked_lm" not in found.heads:
        shape = (8, 16) if found.texts == 1 else (8, found.texts, 16)
        return {name: batch[name].reshape(shape) for name in INPUTS} | found.labels
    if case == "pairless":
        return without_pairs(batch)
    if case == "packed":
        half = np.arange(16) >= 6
        batch["sequence_ids"] = np.where(batch["input_mask"] == 1, 1 + half, 0).astype(np.int32)
        batch["position_ids"] = np.tile(np.where(half, np.arange(16) - 6, np.arange(16)), (8, 1)).astype(np.int32)
        batch["next_sentence_positions"] = np.tile(np.array([0, 6], np.int32), (8, 1))
        batch["next_sentence_labels"] = np.tile(batch["next_sentence_labels"], (1, 2))
        batch["next_sentence_weights"] = np.ones((8, 2), np.float32)
    return batch


def computed(folder: str, case: str) -> dict[str, np.ndarray]:
    """Outputs, sums, gradients and one update, in both forms of the arithmetic, of a folder's weights and batch."""
    found = CASES[case]
    with np.load(f"{folder}/batch.npz") as file:
        batch = {name: ops.convert_to_tensor(x) for name, x in file.items()}
    keras.utils.set_random_seed(0)
    model = make_model(CONFIG, found.heads, **found.model)
    with np.load(f"{folder}/weights.npz") as file:
        for record in records(model):
            record.variable.assign(file[record.name])
    tuning.prepare(model, found.tuning)
    _fill_lora(model)
    results = {"trained_share": np.array(tuning.trained_share(model))}
    results["rate_shares"] = np.array(tuning.rate_shares(model, found.tuning.layer_decay))
    results |= {f"record/{record.name}": ops.convert_to_numpy(record.variable) for record in records(model)}
    results |= {f"update/{name}": np.asarray(x) for name, x in _updated(model, found).items()}
    for form, context in (("plain", contextlib.nullcontext), ("compiled", compiled)):
        with context():
            results |= {f"{form}/{name}": np.asarray(x) for name, x in _step(model, found, batch).items()}
    return results


def _fill_lora(model: keras.Model) -> None:
    """LoRA's own weights from NumPy: each backend draws its own."""
    rng = np.random.default_rng(7)
    for record in tuning.lora_layers(model).values():
        if record.layer.lora_enabled:
            for variable in (record.layer.lora_kernel_a, record.layer.lora_kernel_b):
                variable.assign(rng.normal(0, 0.1, variable.shape).astype(np.float32))


def _step(model: keras.Model, case: Case, batch: dict) -> dict[str, Any]:
    objective = case.objective()
    step = Step(model, objective)
    weights = [ops.convert_to_tensor(v.value) for v in step.weights]
    frozen = [ops.convert_to_tensor(v.value) for v in step.frozen]

    def loss(weights):
        seed = ops.zeros(2, "int32")
        totals, values = objective.denominators(batch), step.values(weights, frozen)
        sums, outputs = step.sums(values, batch, seed, training=False)
        found = {f"output/{name}": x for name, x in outputs.items()} | {f"total/{n}": x for n, x in totals.items()}
        if case.texts == 1:
            with keras.StatelessScope(state_mapping=values):
                encoded = model.encoder(batch)
            found |= {f"encoder/{name}": x for name, x in encoded.items() if name != "hidden_states"}
        found |= {"metrics": step.metrics(sums), "tokens": step.tokens(batch)}
        return step.loss(sums, totals), found

    (value, found), gradients = _value_and_gradients(loss, weights)
    names = [variable.path.partition("/")[2] for variable in step.weights]
    found |= {"loss": value, **{f"gradient/{name}": x for name, x in zip(names, gradients, strict=True)}}
    return {name: ops.convert_to_numpy(x) for name, x in found.items()}


def _updated(model: keras.Model, case: Case) -> dict[str, Any]:
    """One update with gradients that NumPy draws: of a step's own some are 0 but for rounding, which grows to steps."""
    step, rng = Step(model, case.objective()), np.random.default_rng(1)
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=2, name="lamb", bias_correction=True)
    shares = tuning.rate_shares(model, case.tuning.layer_decay)
    update = step.updater(config, total_steps=10, scaled=True, rate_shares=shares)
    weights = [ops.convert_to_tensor(v.value) for v in step.weights]
    drawn = [ops.convert_to_tensor(rng.normal(size=w.shape).astype(np.float32)) for w in weights]
    zeros = [ops.zeros_like(w) for w in weights]
    slots = Slots(zeros, zeros, ops.convert_to_tensor([2.0, 1999.0]))
    new, slots, reported = update(weights, slots, drawn, ops.convert_to_tensor(3))
    found: dict[str, Any] = {"scale": slots.scale, **{name: reported[name] for name in optimizer.REPORTED}}
    for variable, *values in zip(step.weights, new, slots.first, slots.second, strict=True):
        name = variable.path.partition("/")[2]
        found |= {f"{kind}/{name}": x for kind, x in zip(("new", "first", "second"), values, strict=True)}
    return {name: ops.convert_to_numpy(x) for name, x in found.items()}


def _value_and_gradients(loss: Callable, weights: list):
    """((loss, more), gradients) of a function weights -> (loss, more)."""
    if keras.backend.backend() == "jax":
        return importlib.import_module("jax").value_and_grad(loss, has_aux=True)(weights)
    tf = importlib.import_module("tensorflow")
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value, found = loss(weights)
    return (value, found), [tf.convert_to_tensor(gradient) for gradient in tape.gradient(value, weights)]


class _Refused(importlib.abc.MetaPathFinder):
    """Modules that are not to be imported."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_text"):
            raise ModuleNotFoundError(f"{name} is not to be imported")


if __name__ == "__main__":
    sys.meta_path.insert(0, _Refused())
    assert "tensorflow" not in sys.modules, "models or objectives import TensorFlow"
    assert keras.backend.backend() == "jax"
    for name in CASES:
        folder = f"{sys.argv[1]}/{name}"
        np.savez(f"{folder}/jax.npz", **computed(folder, name))
