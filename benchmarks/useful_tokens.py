"""Measures the tokens of text trained on per second at length 512: packed, not packed, and peers.

python -m benchmarks.useful_tokens              some 10 minutes on 2 cores, environments included

The documents are docstrings of the installed packages: every second module is one document, the others one a docstring.
pipelines.create_pretraining_data writes shards with and without --packing; bert_tf.pretrain trains on both, reading
included. The peers of benchmarks.train_step repeat one batch of the shards that are not packed: they read nothing, and
none of them packs sentence pairs. Padding does not count. Only transformers' run_mlm has rows without padding: it joins
texts end to end, without sentence pairs, and attention crosses documents; it has its own row. 4 layers, width 512, 8
rows a step, 76 predictions a row, float32.
"""

import os
import statistics
import sys
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import real_text, results_file
from benchmarks.peers import timing
from benchmarks.peers.environments import output_of, set_flags, time_steps
from benchmarks.shard_rows import read_rows

_ROUNDS = flags.DEFINE_integer("rounds", 2, "Turns.")
_STEPS = flags.DEFINE_integer("steps", 8, "Timed steps of a turn.")
_ROWS, _LENGTH, _PREDICTIONS = 8, 512, 76
_UNTIMED = 4  # first steps of this project: tracing, warm-up and prefetching
_PEERS = {"keras-hub": "keras_hub", "tf-models-official": "official", "transformers, PyTorch": "torch"}
_JOINED = "transformers, PyTorch, texts joined end to end"
COLUMNS = {
    "": "{name}",
    "padding": "{padding:.1%}",
    "tokens of text/s": "{tokens_per_second:,.0f} ({tokens_per_second_min:,.0f} to {tokens_per_second_max:,.0f})",
    "packed here / this": "**{packed here / this:.2f}**",
}


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
    from bert_tf.core.metrics_file import read_metrics

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
        config = ["--config", "configs/pretrain_tiny.py", "--workdir", workdir]
        output_of(sys.executable, "bert_tf.pretrain", *config, *set_flags(settings))
        lines = [line for line in read_metrics(workdir) if line["split"] == "train"]
    return [_ROWS / line["examples_per_second"] for line in lines[_UNTIMED:]]


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
            # A step takes the same time with any rows, so each step counts the tokens of mean rows.
            seconds = {f"this project, {name}": _ours(path, turn) for name, path in shards.items()}
            for label, name in _PEERS.items():  # not compiled, which is faster by benchmarks.train_step
                seconds[label] = time_steps(name, batch, precision="float32", steps=_STEPS.value)["seconds"]
            for name, found in seconds.items():
                share = filled["packed" if name.endswith(", packed") else "not packed"]
                rates.setdefault(name, []).extend(_ROWS * _LENGTH * share / one for one in found)
                if _JOINED.startswith(name):  # the same steps, without padding
                    rates.setdefault(_JOINED, []).extend(_ROWS * _LENGTH / one for one in found)
            print(
                f"turn {turn + 1} of {_ROUNDS.value}: ", {name: round(r[-1]) for name, r in rates.items()}, flush=True
            )
    _save(rates, filled)


def _save(rates: dict[str, list[float]], filled: dict[str, float]) -> None:
    medians = {name: statistics.median(found) for name, found in rates.items()}
    packed = medians["this project, packed"]
    medians = dict(sorted(medians.items(), key=lambda item: -item[1]))
    padding = dict.fromkeys(medians, 1 - filled["not packed"])
    padding |= {"this project, packed": 1 - filled["packed"], _JOINED: 0.0}
    rows = [
        results_file.row(
            {"name": name},
            ratios={"packed here / this": packed / median},
            padding=padding[name],
            **results_file.spread("tokens_per_second", rates[name]),
        )
        for name, median in medians.items()
    ]
    results_file.save("useful_tokens", COLUMNS, rows, bars=("tokens of text a second", {"length 512": medians}))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
