"""The tf.distribute strategy that a config names."""

import tensorflow as tf

from bert_tf.errors import InputError


def create(name: str) -> tf.distribute.Strategy:
    """auto, single or mirrored.

    auto: all GPUs of this host, mirrored if there are several; else its CPU. mirrored on a host without GPUs splits the
    CPU into two logical devices, which is the way to try the distributed path anywhere.

    Raises:
      InputError: mirrored on a CPU that TensorFlow has already taken as one device.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "single"
    if name == "single":
        return tf.distribute.OneDeviceStrategy("/GPU:0" if gpus else "/CPU:0")
    if gpus:
        return tf.distribute.MirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu) is None:
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        except RuntimeError:
            raise InputError(
                "train.strategy=mirrored: expected to split the CPU into two logical devices before TensorFlow starts. "
                "Received a process in which it has started with one."
            ) from None
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())
