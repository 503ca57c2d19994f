"""Shared by the peers' scripts: sizes, flags, the batch, timing, and the result as one line of JSON.

Imports NumPy only, since the peers' environments differ.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable

import numpy as np

SIZES = {
    "vocab_size": 30_522,
    "hidden_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM, DROPOUT = 1e-4, 0.01, 1.0, 0.1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", required=True, help="Arrays of one batch, .npz.")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], required=True)
    parser.add_argument("--xla", action="store_true", help="Compile, with XLA or torch.compile.")
    parser.add_argument("--steps", type=int, default=8)
    return parser.parse_args()


def loss_in_tensorflow(batch: dict, masked_lm_logits, next_sentence_logits):
    """The mean loss of the predictions plus that of the pairs, in float32."""
    import tensorflow as tf

    def cross_entropy(labels, logits):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))

    weights = batch["masked_lm_weights"]
    words = tf.reduce_sum(cross_entropy(batch["masked_lm_ids"], masked_lm_logits) * weights) / tf.reduce_sum(weights)
    return words + tf.reduce_mean(cross_entropy(batch["next_sentence_labels"][:, 0], next_sentence_logits))


def load(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def time_steps(step: Callable[[], float], steps: int) -> None:
    """Times `step`, which runs one training step and returns its loss, after two untimed calls."""
    losses, seconds = [step(), step()], []
    for _ in range(steps):
        began = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - began)
    report(seconds, losses)


def report(seconds: list[float], losses: list[float]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "losses": losses, "peak_gigabytes": peak}), flush=True)
