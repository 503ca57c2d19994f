"""Tokens of text trained on in a second, from documents of mixed lengths at length 512: packed, not packed, and peers.

python -m benchmarks.useful_tokens              some 10 minutes on 2 cores, environments included

The documents are docstrings of the installed packages: those of every other module together, the others each by itself.
pipelines.create_pretraining_data makes shards of them with and without --packing; bert_tf.pretrain trains on either,
reading included. The peers of benchmarks.train_step take one batch of the shards that are not packed, again and again:
reading costs them nothing, and none of them packs sentence pairs. Padding counts for nobody. Only transformers' run_mlm
has rows without padding, by joining texts end to end, where attention goes from one document into the next and there
are no sentence pairs: told in a line of its own. 4 layers, width 512, 8 rows a step, 76 predictions a row, float32.
"""

import json
import os
import statistics
import sys
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import real_text, results_file
from benchmarks.peers import timing
from benchmarks.peers.environments import output_of, python_of
from benchmarks.shard_rows import read_rows

_ROUNDS = flags.DEFINE_integer("rounds", 2, "Turns of all.")
_STEPS = flags.DEFINE_integer("steps", 8, "Timed steps of a turn.")
_ROWS, _LENGTH, _PREDICTIONS = 8, 512, 76
_UNTIMED = 4  # first steps of ours: tracing, warming up and reading ahead
# {name in the table: (environment, script)}; none is compiled, which is the faster in benchmarks.train_step.
_PEERS = {
    "keras-hub": ("keras_hub", "kerashub_peer"),
    "tf-models-official": ("official", "official_peer"),
    "transformers, PyTorch": ("torch", "torch_peer"),
}
_JOINED = "transformers, PyTorch, texts joined end to end"


def _make_shards(folder: str) -> dict[str, str]:
    """{packed or not: folder with shards}."""
    text, vocab = os.path.join(folder, "documents.txt"), os.path.join(folder, "vocab.txt")
    with open(text, "w", encoding="utf-8") as file:
        file.writelines(f"{document}\n\n" for document in real_text.mixed_documents())
    size = f"--vocab_size={timing.SIZES['vocab_size']}"
    output_of(sys.executable, "pipelines.build_vocab", "--input", text, "--output", vocab, size)
    found = {}
    for name in ("not packed", "packed"):
        found[name] = os.path.join(folder, name.replace(" ", "-"))
        layout = [f"--max_seq_length={_LENGTH}", f"--max_predictions_per_seq={_PREDICTIONS}", "--num_shards=4"]
        layout += ["--validation_fraction=0", f"--packing={name == 'packed'}", "--direct_num_workers=2"]
        arguments = ["--input", text, "--vocab", vocab, "--output_dir", found[name], *layout]
        output_of(sys.executable, "pipelines.create_pretraining_data", *arguments)
    return found


def _ours(shards: str, turn: int) -> list[float]:
    """Seconds of each timed step of bert_tf.pretrain, reading included."""
    settings = {
        "data.train": shards,
        "data.max_seq_length": _LENGTH,
        "data.max_predictions_per_seq": _PREDICTIONS,
        "train.steps": _UNTIMED + _STEPS.value,
        "train.global_batch_size": _ROWS,
        "train.seed": turn,
        **dict.fromkeys(("train.steps_per_loop", "train.log_every"), 1),
        **dict.fromkeys(("train.checkpoint_every", "train.evaluate_every"), 1000),
        "optimizer.warmup_steps": 0,
        **{f"model.{name}": size for name, size in timing.SIZES.items()},
    }
    with tempfile.TemporaryDirectory() as workdir:
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        config = ["--config", "configs/pretrain_tiny.py", "--workdir", workdir]
        output_of(sys.executable, "bert_tf.pretrain", *config, *sets)
        with open(os.path.join(workdir, "metrics.jsonl"), encoding="utf-8") as file:
            lines = [line for line in map(json.loads, file) if line["split"] == "train"]
    return [_ROWS / line["examples_per_second"] for line in lines[_UNTIMED:]]


def _peer(name: str, batch: str) -> list[float]:
    """Seconds of each timed step."""
    environment, script = _PEERS[name]
    arguments = ["--batch", batch, "--precision", "float32", "--steps", str(_STEPS.value)]
    out = output_of(python_of(environment), f"benchmarks.peers.{script}", *arguments)
    return json.loads(out.strip().splitlines()[-1])["seconds"]


def main(_) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("shards ...", flush=True)
        shards = _make_shards(folder)
        rows = {name: read_rows(path) for name, path in shards.items()}
        filled = {name: float(found["input_mask"].mean()) for name, found in rows.items()}
        for name, share in filled.items():
            print(f"{name}: {len(rows[name]['input_mask']):,} rows, {1 - share:.1%} of their positions padding")
        batch = os.path.join(folder, "batch.npz")
        first = {name: values[:_ROWS] for name, values in rows["not packed"].items()}
        np.savez(batch, **first, next_sentence_weights=np.ones((_ROWS, 1), np.float32))
        rates: dict[str, list[float]] = {}
        for turn in range(_ROUNDS.value):
            # A step takes the same time whatever its rows hold: tokens are counted as the mean of all rows.
            seconds = {f"this project, {name}": _ours(path, turn) for name, path in shards.items()}
            seconds |= {name: _peer(name, batch) for name in _PEERS}
            for name, found in seconds.items():
                share = filled["packed" if name.endswith(", packed") else "not packed"]
                rates.setdefault(name, []).extend(_ROWS * _LENGTH * share / one for one in found)
                if _JOINED.startswith(name):  # the same steps, without padding
                    rates.setdefault(_JOINED, []).extend(_ROWS * _LENGTH / one for one in found)
            print(
                f"turn {turn + 1} of {_ROUNDS.value}: ", {name: round(r[-1]) for name, r in rates.items()}, flush=True
            )
    _tell(rates, filled)


def _tell(rates: dict[str, list[float]], filled: dict[str, float]) -> None:
    medians = {name: statistics.median(found) for name, found in rates.items()}
    packed = medians["this project, packed"]
    table = [
        {
            "": name,
            "padding": f"{1 - (filled['packed'] if name.endswith(', packed') else filled['not packed']):.1%}"
            if name != _JOINED
            else "0.0%",
            "tokens of text/s": f"{median:,.0f} ({min(rates[name]):,.0f} to {max(rates[name]):,.0f})",
            "packed here / this": f"**{packed / median:.2f}**",
        }
        for name, median in sorted(medians.items(), key=lambda item: -item[1])
    ]
    best = max(medians[name] for name in _PEERS)
    print(f"packing gains {packed / medians['this project, not packed']:.2f}; best peer {packed / best:.2f}")
    results_file.save(
        "useful_tokens",
        table,
        bars=("tokens of text a second", {"length 512": dict(sorted(medians.items(), key=lambda item: -item[1]))}),
        medians=medians,
        padding={name: 1 - share for name, share in filled.items()},
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
