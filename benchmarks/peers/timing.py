"""What every peer's script shares: the batch, the clock, and one line of JSON at the end. NumPy only."""

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
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--steps", type=int, default=8)
    return parser.parse_args()


def load(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def report(step: Callable[[], float], steps: int) -> None:
    """Times `step`, which runs one training step and returns its loss; the first two compile and warm up."""
    losses, seconds = [step(), step()], []
    for _ in range(steps):
        began = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - began)
    tell(seconds, losses)


def tell(seconds: list[float], losses: list[float]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "losses": losses, "peak_gigabytes": peak}), flush=True)
