"""Compares a pretraining step for TPUs with the same network in plain JAX: BERT base, length 128.

python -m benchmarks.tpu_reference              needs make tpu-env; two compilations, some minutes

Both go through the same compiler for the same topology: forward and backward in bfloat16 with dropout 0.1, clipping by
the global norm, AdamW with float32 weights and slots; 64 rows a chip, 20 predictions each. The reference is
benchmarks/peers/jax_step.py. The results are the compiler's operations and bytes, and the least time that follows from
them by the chip's published speed; nothing ran on a TPU.
"""

import os

from absl import app, flags

from benchmarks import results_file
from benchmarks.peers.environments import json_of, set_flags
from benchmarks.peers.jax_step import ROWS

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Chips to compile for.")
_PYTHON = os.path.join(".venv-tpu", "bin", "python")
COLUMNS = {
    "T operations": "{tera_operations:.3f}",
    "GB moved": "{gigabytes_moved:.2f}",
    "GiB of activations": "{activations_gibibytes:.2f}",
    "least ms: computing": "{compute_milliseconds:.1f}",
    "of memory": "{memory_milliseconds:.1f}",
    "here / there": "{here / there:.2f}",
}


def rows_of(topology: str, figures: dict[str, dict]) -> list[results_file.Row]:
    """Rows from {name: what the compiler reports}, this project's first."""
    from bert_tf.core import chips

    rows, ours = [], None
    for name, found in figures.items():
        line = chips.roofline(chips.chip_of(topology), flops=found["flops"], bytes_accessed=found["bytes_accessed"])
        ours = ours or line.seconds
        row = results_file.row(
            {"step": name},
            ratios={"here / there": ours / line.seconds},
            tera_operations=found["flops"] / 1e12,
            gigabytes_moved=found["bytes_accessed"] / 1e9,
            activations_gibibytes=found["temporary_bytes"] / 2**30,
            compute_milliseconds=line.compute_seconds * 1e3,
            memory_milliseconds=line.memory_seconds * 1e3,
        )
        rows.append(row)
    return rows


def main(_) -> None:
    from bert_tf.preflight.environment import ENVIRONMENT

    topology = _TOPOLOGY.value
    flags_of_ours = ["--config", "configs/pretrain_base_128.py", *set_flags({"train.global_batch_size": 4 * ROWS})]
    command = [_PYTHON, "bert_tf.preflight", "--topology", topology, "--json", *flags_of_ours]
    figures = {"this project": json_of(*command, environment=ENVIRONMENT)}
    for generator in ("threefry2x32", "rbg"):
        command = [_PYTHON, "benchmarks.peers.jax_step", topology, generator]
        figures[f"plain JAX, {generator}"] = json_of(*command, environment=ENVIRONMENT)
    columns = {f"{ROWS} rows a chip, {topology}": "{step}", **COLUMNS}
    results_file.save("tpu_reference", columns, rows_of(topology, figures), figures=figures)


if __name__ == "__main__":
    app.run(main)
