"""How fast a run is against what its device can do."""

import time

import tensorflow as tf

_SIZE = 2048  # of the square matrices; large enough for a GPU's peak, some tens of milliseconds on a CPU
_SECONDS = 0.3
_BACKWARD = 2  # a backward pass has two products for every one of the forward pass


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


def step_flops(forward_flops: float) -> float:
    """Floating-point operations of the matrix products of a training step."""
    return (1 + _BACKWARD) * forward_flops


class Rate:
    """Examples, tokens and steps of the time that was spent on steps, since the last look."""

    def __init__(self, peak_steps: float | None):
        self._peak_steps = peak_steps
        self._is_first = True
        self._loops: list[tuple[float, ...]] = []

    def add(self, examples: int, tokens: float, steps: int, began: float) -> None:
        self._loops.append((examples, float(tokens), steps, time.monotonic() - began))

    def take(self) -> dict[str, float]:
        # A process compiles in its first loop, which says nothing about its speed if there are others.
        loops = self._loops[1:] if self._is_first and len(self._loops) > 1 else self._loops
        examples, tokens, steps, seconds = map(sum, zip(*loops, strict=True))
        told = {
            "examples_per_second": examples / seconds,
            "tokens_per_second": tokens / seconds,  # of text: padding is not counted
        }
        if self._peak_steps is not None:
            told["model_flops_utilization"] = steps / seconds / self._peak_steps
        self._is_first, self._loops = False, []
        return told
