"""Steps and runs on random rows, as training runs them."""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.core.records import RecordLayout
from bert_tf.objectives.masked_lm import MaskedLM
from bert_tf.training.engines.engine import Training
from bert_tf.training.engines.tensorflow import TensorFlowEngine, TensorFlowPieces
from bert_tf.training.optimizer import Slots
from bert_tf.training.step import Step
from bert_tf.training.trainer import Trainer

TRAIN = TrainConfig(
    steps=6, global_batch_size=8, steps_per_loop=2, log_every=1, evaluate_every=6, checkpoint_every=3, seed=1
)
OPTIMIZER = OptimizerConfig(learning_rate=0.01, warmup_steps=2)


def masked_lm(*, has_pairs: bool = True, packed: int = 0) -> MaskedLM:
    """The objective of make_pretraining_batch's rows."""
    layout = RecordLayout(
        max_seq_length=16, max_predictions_per_seq=4, has_pairs=has_pairs, max_sequences_per_row=packed
    )
    return MaskedLM(layout)


def engine(strategy: str = "single", **train) -> TensorFlowEngine:
    """A started engine."""
    made = TensorFlowEngine(dataclasses.replace(TRAIN, strategy=strategy, **train))
    made.start()
    return made


def trainer(config, workdir, *, strategy="single", optimizer=OPTIMIZER, objective=None, **train) -> Trainer:
    """A trainer of masked LM on a small network."""
    objective = objective or masked_lm()
    settings = dataclasses.replace(TRAIN, strategy=strategy, **train)
    return Trainer(
        engine(strategy, **train),
        lambda: objective.make_model(config, settings.precision),
        objective,
        train=settings,
        training=Training(optimizer),
        workdir=str(workdir),
    )


class OneStep:
    """The pieces of a step of a built model, called by hand.

    Args:
      model: built.
      objective: what it learns.
      train: fields of TrainConfig.
    """

    def __init__(self, model: keras.Model, objective, *, optimizer=OPTIMIZER, is_compiled=False, shares=None, **train):
        self.model, self.step = model, Step(model, objective)
        training = Training(optimizer, None if shares is None else lambda model: shares)
        train = TrainConfig(**train)
        self.pieces = TensorFlowPieces(self.step, train=train, training=training, is_compiled=is_compiled)

    @property
    def weights(self) -> list[tf.Tensor]:
        return [tf.convert_to_tensor(v.value) for v in self.step.weights]

    def gradients(self, batch, number: int = 0, replica: int = 0, *, weights=None, jit: bool | None = None):
        """Gradients, and float32 [metrics, 2]; jit None: op by op, else as one graph, compiled or not."""
        batch = {name: tf.constant(x) for name, x in batch.items()}
        function = self.pieces.gradients
        if jit is not None:
            function = tf.function(function, jit_compile=jit, autograph=False)
        gradients, metrics, _ = function(
            self.weights if weights is None else weights,
            [tf.convert_to_tensor(v.value) for v in self.step.frozen],
            batch,
            self.pieces.denominators(batch),
            tf.constant(number, tf.int64),
            tf.constant(replica),
            tf.constant(1.0),
        )
        return gradients, metrics.numpy()

    def run(self, batch, count: int) -> None:
        """Runs some steps and writes the weights back."""
        weights = self.weights
        zeros = [tf.zeros_like(w) for w in weights]
        slots = Slots(zeros, zeros, tf.constant([1.0, 0.0]))
        for number in range(count):
            gradients, _ = self.gradients(batch, number, weights=weights)
            weights, slots, _ = self.pieces.update(weights, slots, gradients, tf.constant(number, tf.int64))
        for variable, value in zip(self.step.weights, weights, strict=True):
            variable.assign(value)


def sums_of(
    model, objective, batch, compiled=contextlib.nullcontext, *, training: bool = False
) -> tuple[dict[str, tuple[float, float]], dict]:
    """The objective's sums and the model's outputs, without dropout unless in training."""
    with compiled():
        sums, outputs = objective.sums(model, batch, None, training=training)
    return {name: tuple(float(x) for x in pair) for name, pair in sums.items()}, outputs


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with random numbers in all weights, biases and norms included."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(np.asarray(variable) + rng.normal(0, 0.1, variable.shape))
    return model
