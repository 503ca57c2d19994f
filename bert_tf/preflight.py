"""Compiles a run's training step with the real TPU compiler, on a machine that has no TPU.

python -m bert_tf.preflight --config configs/pretrain_base_128.py --topology v5e:2x2
python -m bert_tf.preflight --config configs/finetune_mrpc.py --set init_from=DIR --topology v4:2x2x1 --json

Says whether the step compiles, and at which layer not; how much of each chip's memory it takes; its operations and
bytes; the least time that a step and the run take, and which of the two binds. --largest_batch looks for the largest
batch that fits. Results are kept in ~/.cache/bert_tf. Needs the environment that `make tpu-env` builds in .venv-tpu;
it starts itself there. The least times are a bound, not a promise: no step was ever timed on a TPU here.
"""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys

from absl import flags

from bert_tf import command, config_io
from bert_tf.config import PretrainConfig
from bert_tf.config_finetune import FinetuneConfig
from bert_tf.errors import InputError

ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # no metadata server to ask
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # compilers may run side by side; the lock is for a TPU's sake
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_CACHE = os.path.expanduser("~/.cache/bert_tf/preflight")
_MOST_DOUBLINGS = 12
# Of the memory, by proportion. The compiler computes activations again by itself where memory is short, which fits some
# 1.3 times too much; what is more than this is not compiled, which would take minutes.
_NOT_WORTH_A_TRY = 1.5


def run(
    config: PretrainConfig | FinetuneConfig,
    topology: str,
    *,
    sequences_per_row: int = 0,
    largest_batch: bool = False,
    price: float | None = None,
) -> tuple[dict, list[str]]:
    """Figures of a compiled step (see bert_tf.tpu.reporting) and what was assumed.

    Args:
      config: of the run.
      topology: such as v5e:2x2.
      sequences_per_row: of packed rows, where data.train does not tell.
      largest_batch: look for the largest number of examples a chip: the config's times a power of two, or its half, a
        quarter and so on where it does not fit itself.
      price: of a chip and hour.

    Raises:
      InputError: a step that does not compile or does not fit.
    """
    from bert_tf.tpu import chips, runs

    chip = chips.chip_of(topology)
    made = runs.of_config(config, sequences_per_row)
    if not largest_batch:
        return _figures(made, _compiled(made, config, topology), price), made.notes
    notes = list(made.notes)
    compiled, too_large = _first_that_fits(made, config, topology, notes)
    found = _figures(made, compiled, price)
    if too_large:
        # As many examples as the config wants take more of these smaller steps.
        times = config.train.global_batch_size / (compiled.cores * compiled.examples_per_core)
        found |= {name: found[name] * times for name in ("hours", "chip_hours", "cost") if name in found}
        found["steps"] = round(found["steps"] * times)
        notes.append(f"{too_large[0]} examples a chip do not fit; so many steps of fewer that all examples are seen")
    largest, tried = compiled.examples_per_core, []
    if not too_large:  # or it is the largest already: its double does not fit
        largest, tried = _largest(made, config, compiled, chip.hbm, notes)
    found["largest_examples_per_core"] = largest
    found["tried_examples_per_core"] = [*too_large, compiled.examples_per_core, *tried]
    return found, notes


def _figures(made, compiled, price: float | None) -> dict:
    from bert_tf.tpu import reporting

    batch = compiled.cores * compiled.examples_per_core
    shapes = {name: (batch, *shape) for name, (shape, _) in made.features.items()}
    # The backward pass takes twice the operations of the forward pass.
    analytic = 3.0 * made.model.forward_flops(shapes)
    return reporting.figures(compiled, steps=made.train.steps, analytic_flops=analytic, price=price)


def _first_that_fits(made, config, topology: str, notes: list[str]):
    """The config's step, or that of its half, a quarter and so on; and the examples a core that did not fit."""
    from bert_tf.tpu.compiling import DoesNotFitError, devices_of

    batch_size, cores = config.train.global_batch_size, len(devices_of(topology))
    too_large: list[int] = []
    while True:
        try:
            return _compiled(made, config, topology, batch_size), too_large
        except DoesNotFitError as error:
            too_large.append(batch_size // cores)
            notes.append(f"{batch_size // cores} examples a chip: {error}")
            if batch_size % (2 * cores * config.train.microbatches):
                raise
            batch_size //= 2
            print(f"does not fit; trying {batch_size // cores} examples a chip ...", file=sys.stderr, flush=True)


def _largest(made, config, compiled, hbm: float, notes: list[str]) -> tuple[int, list[int]]:
    """The examples a core that fit, the config's times the largest power of two; and what was tried."""
    from bert_tf.tpu.compiling import DoesNotFitError

    tried: list[int] = []

    def double_may_fit() -> bool:
        return compiled.total_bytes + compiled.temporary_bytes <= _NOT_WORTH_A_TRY * hbm

    def fits(rows: int) -> bool:
        nonlocal compiled
        tried.append(rows)
        print(f"trying {rows} examples a chip ...", file=sys.stderr, flush=True)
        try:
            compiled = _compiled(made, config, compiled.topology, rows * compiled.cores)
        except DoesNotFitError as error:
            notes.append(f"{rows} examples a chip: {error}")
            return False
        return True

    if not double_may_fit():
        return compiled.examples_per_core, tried
    # Activations grow with the batch, the rest does not: begin where that leads, and go from there.
    first = compiled.examples_per_core
    doublings = int(math.log2(max((hbm - compiled.total_bytes) / max(compiled.temporary_bytes, 1) + 1, 1)))
    guess = first * 2 ** min(max(doublings, 1), _MOST_DOUBLINGS)
    if fits(guess):
        while compiled.examples_per_core < first * 2**_MOST_DOUBLINGS and double_may_fit():
            if not fits(2 * compiled.examples_per_core):
                break
    else:
        while guess > 2 * first and not fits(guess // 2):
            guess //= 2
    return compiled.examples_per_core, tried


def _compiled(made, config, topology: str, batch_size: int | None = None):
    """Compiles, unless the same was compiled before."""
    from bert_tf.tpu.compiling import Compiled, compile_step

    batch_size = batch_size or config.train.global_batch_size
    features = {name: (list(shape), str(dtype)) for name, (shape, dtype) in made.features.items()}
    key = {
        "config": dataclasses.asdict(config),
        "network": dataclasses.asdict(made.model.config),
        "features": features,
        "topology": topology,
        "batch": batch_size,
        "sources": _sources(),
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "libtpu", "tensorflow-tpu", "keras")},
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:32]
    path = os.path.join(_CACHE, f"{name}.json")
    if os.path.exists(path):
        return Compiled(**config_io.read_json(path))
    compiled = compile_step(made, topology, batch_size)
    os.makedirs(_CACHE, exist_ok=True)
    with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(compiled), file)
    os.replace(f"{path}.{os.getpid()}", path)
    return compiled


def _sources() -> str:
    """A digest of the code that a step is made of."""
    digest = hashlib.sha256()
    root = pathlib.Path(__file__).parent
    for room in ("modeling", "training", "tasks", "tpu"):
        for path in sorted((root / room).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def main(_) -> None:
    values = flags.FLAGS
    config = config_io.load(values.config, values.set, PretrainConfig | FinetuneConfig)
    if importlib.util.find_spec("libtpu") is None:
        python = os.path.join(".venv-tpu", "bin", "python")
        if not os.path.exists(os.path.join(".venv-tpu", "bin", ".complete")):
            raise InputError(
                "Expected the TPU compiler in .venv-tpu. Received no finished one: run make tpu-env first."
            )
        arguments = [python, "-m", "bert_tf.preflight", *sys.argv[1:]]
        sys.exit(subprocess.run(arguments, env={**os.environ, **ENVIRONMENT}, check=False).returncode)
    print("compiling, which takes a minute or more ...", file=sys.stderr, flush=True)
    found, notes = run(
        config,
        values.topology,
        sequences_per_row=values.sequences_per_row,
        largest_batch=values.largest_batch,
        price=values.price_per_chip_hour,
    )
    if values.json:
        print(json.dumps({**found, "assumed": notes}))
        return
    from bert_tf.tpu import reporting

    print(reporting.words(found, notes))


if __name__ == "__main__":
    flags.DEFINE_string("config", None, "Python file with get_config() of a run.", required=True)
    flags.DEFINE_multi_string("set", [], "Overrides one field of the config: --set section.field=value.")
    flags.DEFINE_string("topology", "v5e:2x2", "TPU generation (v4, v5e, v5p, v6e) and shape, such as v4:2x2x1.")
    flags.DEFINE_integer("sequences_per_row", 0, "Of packed rows, where data.train is no folder of shards.")
    flags.DEFINE_bool("largest_batch", False, "Look for the largest batch a chip that fits; each try is compiled.")
    flags.DEFINE_float("price_per_chip_hour", None, "What your contract says, for the cost of the run.")
    flags.DEFINE_bool("json", False, "One JSON object instead of sentences.")
    command.run(main)
