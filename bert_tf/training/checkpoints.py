"""Checkpoints of a run: weights, optimizer slots, step. Where the run is in its data follows from the step."""

import os

import tensorflow as tf


class Checkpoints:
    """The last few checkpoints of a workdir.

    TensorFlow writes a checkpoint's files under temporary names and the `checkpoint` file, which says which is the
    latest, last and by a rename; so a killed process leaves the one before it in force.
    """

    def __init__(self, workdir: str, *, weights: list[tf.Variable], slots: list[tf.Variable], keep: int):
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        checkpoint = tf.train.Checkpoint(
            weights={str(i): variable for i, variable in enumerate(weights)},
            slots={str(i): variable for i, variable in enumerate(slots)},
            step=self._step,
        )
        self._manager = tf.train.CheckpointManager(checkpoint, os.path.join(workdir, "checkpoints"), max_to_keep=keep)
        self._checkpoint = checkpoint

    def restore(self) -> int:
        """Restores the latest checkpoint and returns its step, 0 if there is none."""
        if self._manager.latest_checkpoint is None:
            return 0
        self._checkpoint.restore(self._manager.latest_checkpoint).assert_consumed()
        return int(self._step.numpy())

    def save(self, step: int) -> None:
        self._step.assign(step)
        self._manager.save(checkpoint_number=step)
