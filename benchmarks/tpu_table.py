"""Compiles the training step of BERT base and large for four chips of each TPU generation: memory and least times.

python -m benchmarks.tpu_table                  needs make tpu-env; two compilations at once, an hour

Each row is bert_tf.preflight --largest_batch: the whole training step, in bfloat16, of examples that are not packed.
The times are bounds that follow from the compiler's operations and bytes and the chip's published speed; no TPU ran.
"""

import concurrent.futures
import json
import sys

from absl import app, flags

from benchmarks import results_file
from benchmarks.peers.environments import json_of, set_flags

_AT_ONCE = flags.DEFINE_integer("at_once", 2, "Compilations at the same time.")
_ONLY = flags.DEFINE_multi_string("only", [], "Networks to compile, such as 'base, 128'; the other rows stay.")
_TOPOLOGIES = ("v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2")
# Examples a chip at which the search starts, near the largest that fit, to save compilations: for chips with 16 GiB,
# and factors for the other generations.
_ROWS = {"base, 128": 256, "base, 512": 32, "large, 512": 16}
_TIMES = {"v4": 2, "v5e": 1, "v5p": 8, "v6e": 2}
_LONG = set_flags({"data.max_seq_length": 512, "data.max_predictions_per_seq": 76})
_NETWORKS = {
    "base, 128": ["--config", "configs/pretrain_base_128.py"],
    "base, 512": ["--config", "configs/pretrain_base_512.py", "--set", "init_from="],
    "large, 512": ["--config", "configs/pretrain_large_128.py", *_LONG],
}

COLUMNS = {
    "network, length": "{network}",
    "four chips": "{topology}",
    "rows a chip: memory": "{examples_per_chip}: {memory_gibibytes:.1f} of {hbm_gibibytes:.0f} GiB",
    "largest rows a chip": "{largest_examples_per_chip}{refused}",
    "operations, bytes a step": "{tera_operations:.2f} T, {gigabytes_moved:.1f} GB",
    "least ms a step": "{step_milliseconds:.1f}",
    "at most rows/s a chip": "{examples_per_second_and_chip:,.0f}",
    "binds": "{bound}",
}


def _cell(network: str, topology: str) -> dict:
    """The preflight of one network on one topology."""
    rows = _ROWS[network] * _TIMES[topology.split(":", maxsplit=1)[0]]
    batch = set_flags({"train.global_batch_size": 4 * rows, "train.microbatches": 1})
    command = [sys.executable, "bert_tf.preflight", "--topology", topology, "--largest_batch", "--json"]
    try:
        found = json_of(*command, *_NETWORKS[network], *batch)
    except SystemExit as error:
        return {"network": network, "topology": topology, "error": str(error).splitlines()[-1]}
    print(f"{network} on {topology}: largest batch a chip {found['largest_examples_per_core']}", flush=True)
    return {"network": network, **found}


def row(cell: dict) -> results_file.Row:
    """A row from what bert_tf.preflight reports, or from its error."""
    labels = {"network": cell["network"], "topology": cell["topology"]}
    if "error" in cell:
        return results_file.row(labels | {"error": cell["error"]}, columns={"rows a chip: memory": "{error}"})
    short = [one["examples_per_core"] for one in cell["refused"] if one["memory"] == "vmem"]  # they fit into the HBM
    labels |= {"bound": cell["bound"], "refused": "".join(f"; {size}: vector memory" for size in short)}
    return results_file.row(
        labels,
        examples_per_chip=cell["examples_per_core"],
        memory_gibibytes=(cell["argument_bytes"] + cell["temporary_bytes"] + cell["output_bytes"]) / 2**30,
        hbm_gibibytes=cell["hbm_bytes"] / 2**30,
        largest_examples_per_chip=cell["largest_examples_per_core"],
        tera_operations=cell["flops"] / 1e12,
        gigabytes_moved=cell["bytes_accessed"] / 1e9,
        step_milliseconds=cell["step_seconds"] * 1e3,
        examples_per_second_and_chip=cell["examples_per_second_and_chip"],
    )


def main(_) -> None:
    path = results_file.FOLDER / "tpu_table.json"
    before = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.exists() else []
    cells = {(cell["network"], cell["topology"]): cell for cell in before}
    asked = [(network, topology) for network in _ONLY.value or _NETWORKS for topology in _TOPOLOGIES]
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE.value) as pool:
        for done in concurrent.futures.as_completed([pool.submit(_cell, *place) for place in asked]):
            cell = done.result()
            cells[cell["network"], cell["topology"]] = cell
            known = [cells[n, t] for n in _NETWORKS for t in _TOPOLOGIES if (n, t) in cells]
            results_file.save("tpu_table", COLUMNS, [row(cell) for cell in known], cells=known)


if __name__ == "__main__":
    app.run(main)
