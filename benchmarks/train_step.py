"""Times a pretraining step of this project and of its peers on the same batch, in turns.

python -m benchmarks.train_step                                   some 30 minutes on 2 cores, environments included
python -m benchmarks.train_step --only ours --only torch --rounds 1

4 layers, width 512, batch 16 x 128 without padding, 20 predictions a row, 30,522 words, dropout 0.1; forward, backward,
clipping and AdamW. Every peer has its own environment in .venv-peers, and every run its own process. The bound is the
time of the step's matrix products at the speed of a 2048 x 2048 product in TensorFlow, which is measured in every turn.
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import results_file
from benchmarks.peers import timing
from benchmarks.peers.environments import STEPS, json_of, python_of, time_steps
from bert_tf.core.records import RecordLayout
from bert_tf.models.bert.config import BertConfig
from bert_tf.models.model import make_model
from bert_tf.training.throughput import step_flops

_BOTH = ["float32", "bfloat16"]
_ONLY = flags.DEFINE_multi_enum("only", [], list(STEPS), "Implementations to time.")
_PRECISIONS = flags.DEFINE_multi_enum("precision", _BOTH, _BOTH, "Precisions to time.")
_COMPILED = flags.DEFINE_multi_enum("compiled", ["no", "yes"], ["no", "yes"], "yes: with XLA, or torch.compile.")
_LIMIT = flags.DEFINE_float("limit", 400.0, "Timeout of a run in seconds.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns; from the second on, only of each implementation's best setting.")
_STEPS = flags.DEFINE_integer("steps", 6, "Timed steps of a turn.")

_ROWS, _LENGTH, _PREDICTIONS = 16, 128, 20
_LABELS = {
    "ours": "**this project**",
    "official": "tf-models-official 2.20",
    "official_onednn": "tf-models-official with `TF_ENABLE_ONEDNN_OPTS=1`",
    "keras_hub": "keras-hub",
    "torch": "transformers, PyTorch",
}
# Only this project sets TF_ENABLE_ONEDNN_OPTS by itself, so a peer with it is shown, but does not count as one.
_PEERS = ("official", "keras_hub", "torch")
COLUMNS = {
    "": "{name}",
    "precision": "{precision}",
    "compiled": "{compiled}",
    "s a step": "{seconds:.2f} ({seconds_min:.3g} to {seconds_max:.3g})",
    "tokens/s": "{tokens_per_second:,.0f}",
    "of the bound": "{share_of_bound:.0%}",
    "best peer / this": "{best peer / this:.2f}",
    "GB": "{peak_gigabytes:.1f}",
}


def _time(name: str, precision: str, xla: bool, batch: str) -> dict:
    """What a run reports; empty if it fails or takes too long."""
    label = f"  {name} {precision} {'compiled' if xla else ''}"
    try:
        found = time_steps(name, batch, precision=precision, xla=xla, steps=_STEPS.value, timeout=_LIMIT.value)
        print(f"{label} {statistics.median(found['seconds']):.3f} s", flush=True)
        return found
    except (SystemExit, subprocess.TimeoutExpired) as error:
        print(f"{label} failed: {str(error).splitlines()[-1][-200:]}", flush=True)
        return {}


def _batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    layout = RecordLayout(max_seq_length=_LENGTH, max_predictions_per_seq=_PREDICTIONS)
    batch = {
        name: np.ones((_ROWS, *shape), np.int32 if dtype == "int64" else np.float32)
        for name, (shape, dtype) in layout.features.items()
    }
    for name in ("input_word_ids", "masked_lm_ids"):
        batch[name] = rng.integers(1000, timing.SIZES["vocab_size"], batch[name].shape).astype(np.int32)
    positions = [np.sort(rng.choice(np.arange(1, _LENGTH - 1), _PREDICTIONS, replace=False)) for _ in range(_ROWS)]
    batch["masked_lm_positions"] = np.array(positions, np.int32)
    batch["input_type_ids"] = np.tile((np.arange(_LENGTH) >= _LENGTH // 2).astype(np.int32), (_ROWS, 1))
    batch["next_sentence_labels"] = rng.integers(0, 2, (_ROWS, 1)).astype(np.int32)
    return {**batch, "next_sentence_weights": np.ones((_ROWS, 1), np.float32)}


def _compare(path: str) -> None:
    shapes = {"input_word_ids": (_ROWS, _LENGTH), "masked_lm_positions": (_ROWS, _PREDICTIONS)}
    model = make_model(BertConfig(**timing.SIZES), {"masked_lm": {}, "pair": {}})
    products = step_flops(model.forward_flops(shapes))
    names = _ONLY.value or list(STEPS)
    settings = list(itertools.product(names, _PRECISIONS.value, [choice == "yes" for choice in _COMPILED.value]))
    seconds: dict[tuple, list[float]] = {}
    speeds: dict[str, list[float]] = {precision: [] for precision in _PRECISIONS.value}
    peaks: dict[tuple, float] = {}
    for name in names:
        python_of(name)  # creates the environments before the first turn
    for turn in range(_ROUNDS.value):
        print(f"turn {turn + 1} of {_ROUNDS.value} ...", flush=True)
        for precision in speeds:
            speeds[precision].append(json_of(sys.executable, "benchmarks.peers.matrix", precision)["flops"])
        for setting in settings:
            if found := _time(*setting, path):
                seconds.setdefault(setting, []).extend(found["seconds"])
                peaks[setting] = found["peak_gigabytes"]
        # Later turns show how steady the times are, so the best setting of each name is enough.
        slowest_first = sorted(seconds, key=lambda setting: -statistics.median(seconds[setting]))
        settings = list({setting[0]: setting for setting in slowest_first}.values())
    print(f"matrix products of a step: {products / 1e9:.0f} G operations")
    matrix = {precision: statistics.median(measured) for precision, measured in speeds.items()}
    for precision, speed in matrix.items():
        print(f"{precision} matrix speed: {speed / 1e9:.0f} G/s")
    medians = {setting: statistics.median(times) for setting, times in seconds.items()}
    peers = [m for (name, *_), m in medians.items() if name in _PEERS]
    rows, bars = [], {}
    for setting, median in sorted(medians.items(), key=lambda item: item[1]):
        name, precision, xla = setting
        row = results_file.row(
            {"name": _LABELS[name], "precision": precision, "compiled": "yes" if xla else "no"},
            ratios={"best peer / this": min(peers) / median} if peers else {},
            **results_file.spread("seconds", seconds[setting]),
            tokens_per_second=_ROWS * _LENGTH / median,
            share_of_bound=products / matrix[precision] / median,
            peak_gigabytes=peaks[setting],
        )
        rows.append(row)
        bars.setdefault(_LABELS[name].strip("*"), _ROWS * _LENGTH / median)  # the best setting comes first
    bars = "tokens a second", {"best setting": bars}
    results_file.save("train_step", COLUMNS, rows, bars=bars, matrix_flops=matrix)


def main(_) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "batch.npz")
        np.savez(path, **_batch())
        _compare(path)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
