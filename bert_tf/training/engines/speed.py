"""How fast a device of TensorFlow's is at matrix products."""

import os
import time

import tensorflow as tf

from bert_tf.core.chips import published_flops

_SIZE = 2048  # of the square matrices; large enough for a GPU's peak, some tens of milliseconds on a CPU
_SECONDS = 0.3


def speeds_of(device: str, compute_dtype: str) -> dict[str, float]:
    """See Engine.speeds, of one device."""
    found = {"matmul_utilization": matrix_speed(compute_dtype, device)}
    gpus = tf.config.list_physical_devices("GPU") if "GPU" in device else []
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "") if gpus else ""
    if "TPU" in device:
        name = os.environ.get("TPU_ACCELERATOR_TYPE", "")
    peak = published_flops(name)
    # The published figures are of products with 16-bit factors, which TPUs take for float32 too.
    if peak and ("TPU" in device or compute_dtype != "float32"):
        found["model_flops_utilization"] = peak
    return found


def matrix_speed(compute_dtype: str, device: str, size: int = _SIZE) -> float:
    """Measured speed of a square matrix product, in floating-point operations a second: the best of a few."""
    with tf.device(device):
        x = tf.cast(tf.random.stateless_normal([size, size], [1, 2]), compute_dtype)
        _product_sum(x).numpy()
        best, began = float("inf"), time.perf_counter()
        while time.perf_counter() - began < _SECONDS:
            before = time.perf_counter()
            _product_sum(x).numpy()
            best = min(best, time.perf_counter() - before)
    return 2 * size**3 / best


@tf.function
def _product_sum(x):
    # Reduced to a number, so that asking for it waits for the device and copies nothing.
    return tf.reduce_sum(tf.cast(tf.matmul(x, x), tf.float32))
