"""One run in a workdir: the order in which pretraining and fine-tuning check, lock, train and save."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from bert_tf.core import config_io, whole_file
from bert_tf.core.config import FinetuneConfig, PretrainConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import huggingface
from bert_tf.objectives.objective import Objective
from bert_tf.training.data.batches import Batches
from bert_tf.training.engines.engine import Training, engine_named
from bert_tf.training.evaluation import Selection
from bert_tf.training.optimizer import learning_rate
from bert_tf.training.trainer import Trainer
from bert_tf.training.workdir import lock
from bert_tf.training.workdir.mirror import Mirror

MODEL = "model"  # folder of the result


class Run:
    """A run that begins, or goes on, in a workdir.

    Nothing is written before `trainer` has refused what does not fit, so a corrected command meets an empty workdir.

    Args:
      config: as it was given; `settled` may fill in what follows from the data.
      workdir: its folder.

    Raises:
      InputError: the workdir holds another run, or something else under `model`; no device.
    """

    def __init__(self, config: PretrainConfig | FinetuneConfig, workdir: str):
        self.workdir = workdir
        self.engine = engine_named(config.train.engine)(config.train)
        self.is_chief = self.engine.worker.is_chief
        # Other workers wait in start until the chief has what lies in the mirror.
        self._mirror = Mirror(workdir, config.train.mirror if self.is_chief else "")
        config_io.check_settled(config, workdir)
        huggingface.check_output(self.model_path, "--workdir")
        self._mirror.fetch(config)
        self.engine.start()

    @property
    def model_path(self) -> str:
        return os.path.join(self.workdir, MODEL)

    def check_identity(
        self, name: str, identity: dict, advice: Callable[[str, Any], str | None] = lambda what, there: None
    ) -> None:
        """Refuses to go on with data that mean something else than those that the run began with.

        Args:
          name: of the file in the workdir that keeps it.
          identity: {what: value}; an older version may have kept less.
          advice: (what, value there) -> what to do where it is another than usual; None for the usual.

        Raises:
          InputError: a value differs.
        """
        path = os.path.join(self.workdir, name)
        there = config_io.read_json(path) if os.path.exists(path) else {}
        for what, value in identity.items():
            if there.get(what, value) != value:
                usual = "Take another --workdir, or give what the run began with to resume."
                raise InputError(
                    f"--workdir {self.workdir}: {name}: expected the {what} that its run began with, {there[what]}. "
                    f"Received: {value}. {advice(what, there[what]) or usual}"
                )
        self._identity = (path, identity)

    def trainer(
        self,
        config: PretrainConfig | FinetuneConfig,
        make_model: Callable[[], keras.Model],
        objective: Objective,
        *,
        training: Training,
        selection: Selection = Selection(),  # noqa: B008 - it is immutable
    ) -> Trainer:
        """A trainer in this workdir."""
        return Trainer(
            self.engine,
            make_model,
            objective,
            train=config.train,
            training=training,
            workdir=self.workdir,
            selection=selection,
            on_checkpoint=self._mirror.try_push,
        )

    @contextlib.contextmanager
    def trained(
        self, config: PretrainConfig | FinetuneConfig, trainer: Trainer, batches: Batches
    ) -> Iterator[dict[str, float]]:
        """Trains to the end; the block saves what comes out of it, on the chief only, before the mirror is filled.

        Yields:
          The last evaluation's metrics.
        """
        with lock.held(self.workdir, self.is_chief):
            trainer.check_growth(self._steps_before(config))
            if self.is_chief:
                self._report_growth(config)
                config_io.settle(config, self.workdir)
                path, identity = self._identity
                if not os.path.exists(path):
                    whole_file.write_json(path, identity)
            metrics = trainer.fit(batches)
            yield metrics
            if self.is_chief:
                self._mirror.push()

    def _steps_before(self, config: PretrainConfig | FinetuneConfig) -> int:
        path = os.path.join(self.workdir, "config.json")
        there = config_io.read_json(path) if os.path.exists(path) else {}
        return there.get("train", {}).get("steps", config.train.steps)

    def _report_growth(self, config: PretrainConfig | FinetuneConfig) -> None:
        """Says what more steps than the run was begun for mean: the rates of its schedule depend on their number."""
        path = os.path.join(self.workdir, "config.json")
        there = config_io.read_json(path) if os.path.exists(path) else {}
        steps, before = config.train.steps, self._steps_before(config)
        if steps <= before:
            return
        begun = dataclasses.replace(config.optimizer, warmup_steps=there["optimizer"]["warmup_steps"])
        every = np.arange(before + 1)
        old = np.asarray(learning_rate(begun, before, every))
        new = np.asarray(learning_rate(config.optimizer, steps, every))
        sentence = f"the run goes on to step {steps} instead of {before}. "
        if np.array_equal(old[:-1], new[:-1]):
            sentence += (
                f"Its learning rates are those of an uninterrupted run of {steps} steps. It has one more evaluation, "
                f"at step {before}, whose model tuning.select=best may choose."
            )
        else:
            sentence += (
                f"From here on its learning rates are those of a run of {steps} steps, {new[-1]:.3g} instead of "
                f"{old[-1]:.3g} at step {before}. Steps 1 to {before} used the schedule for {before} steps, so the "
                f"result differs from that of an uninterrupted run of {steps} steps."
            )
        print(sentence, flush=True)
