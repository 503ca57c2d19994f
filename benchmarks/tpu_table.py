"""What the TPU compiler says of BERT base and large on four chips of each generation.

python -m benchmarks.tpu_table                  needs make tpu-env; two compilations side by side, an hour

Each cell is bert_tf.preflight --largest_batch: the whole training step, in bfloat16, of rows that are not packed. The
times are bounds that follow from the compiler's operations and bytes and the chip's published speed; no TPU ran.
"""

import concurrent.futures
import json
import subprocess
import sys

from absl import app, flags

from benchmarks import results_file

_AT_ONCE = flags.DEFINE_integer("at_once", 2, "Compilations side by side.")
_ONLY = flags.DEFINE_multi_string("only", [], "Of the networks, such as 'base, 128'.")
_TOPOLOGIES = ("v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2")
# Rows a chip to begin with, near the largest that fit, so that a cell takes few compilations: with 16 GiB a chip, and
# what the others hold more.
_ROWS = {"base, 128": 256, "base, 512": 32, "large, 512": 16}
_TIMES = {"v4": 2, "v5e": 1, "v5p": 8, "v6e": 2}
_LONG = ["--set", "data.max_seq_length=512", "--set", "data.max_predictions_per_seq=76"]
_NETWORKS = {
    "base, 128": ["--config", "configs/pretrain_base_128.py"],
    "base, 512": ["--config", "configs/pretrain_base_512.py", "--set", "init_from="],
    "large, 512": ["--config", "configs/pretrain_large_128.py", *_LONG],
}

_COLUMNS = (
    "rows a chip: memory",
    "largest rows a chip",
    "operations, bytes a step",
    "least ms a step",
    "at most rows/s a chip",
    "binds",
)


def _cell(network: str, topology: str) -> dict:
    """Figures of one network on one topology."""
    rows = _ROWS[network] * _TIMES[topology.split(":", maxsplit=1)[0]]
    batch = ["--set", f"train.global_batch_size={4 * rows}", "--set", "train.microbatches=1"]
    command = [sys.executable, "-m", "bert_tf.preflight", "--topology", topology, "--largest_batch", "--json"]
    done = subprocess.run([*command, *_NETWORKS[network], *batch], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"network": network, "topology": topology, "error": (done.stderr.strip().splitlines() or ["?"])[-1]}
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{network} on {topology}: largest batch a chip {found['largest_examples_per_core']}", flush=True)
    return {"network": network, **found}


def _row(cell: dict) -> dict[str, str]:
    row = {"network, length": cell["network"], "four chips": cell["topology"]}
    if "error" in cell:
        return row | dict.fromkeys(_COLUMNS, "") | {_COLUMNS[0]: cell["error"]}
    memory = cell["argument_bytes"] + cell["temporary_bytes"] + cell["output_bytes"]
    values = (
        f"{cell['examples_per_core']}: {memory / 2**30:.1f} of {cell['hbm_bytes'] / 2**30:.0f} GiB",
        "; ".join([str(cell["largest_examples_per_core"]), *_short_of_vector_memory(cell["refused"])]),
        f"{cell['flops'] / 1e12:.2f} T, {cell['bytes_accessed'] / 1e9:.1f} GB",
        f"{cell['step_seconds'] * 1000:.1f}",
        f"{cell['examples_per_second_and_chip']:,.0f}",
        cell["bound"],
    )
    return row | dict(zip(_COLUMNS, values, strict=True))


def _short_of_vector_memory(refused: list[dict]) -> list[str]:
    """Sizes that the chip's own memory would allow."""
    return [f"{one['examples_per_core']}: vector memory" for one in refused if one["memory"] == "vmem"]


def main(_) -> None:
    # What is not compiled now stays as it was found before.
    there = results_file.FOLDER / "tpu_table.json"
    before = json.loads(there.read_text(encoding="utf-8")) if there.exists() else {"rows": [], "cells": []}
    rows = {tuple(list(row.values())[:2]): row for row in before["rows"]}
    cells = {(cell["network"], cell["topology"]): cell for cell in before["cells"]}
    asked = [(network, topology) for network in _ONLY.value or _NETWORKS for topology in _TOPOLOGIES]
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE.value) as pool:
        waiting = {pool.submit(_cell, *place): place for place in asked}
        for done in concurrent.futures.as_completed(waiting):
            place = waiting[done]
            cells[place] = done.result()
            rows[place] = _row(cells[place])
            known = [(n, t) for n in _NETWORKS for t in _TOPOLOGIES if (n, t) in rows]
            results_file.save("tpu_table", [rows[p] for p in known], cells=[cells[p] for p in known])


if __name__ == "__main__":
    app.run(main)
