"""Compiles a run's training step with the real TPU compiler, on a machine that has no TPU.

python -m bert_tf.preflight --config configs/pretrain_base_128.py --topology v5e:2x2
python -m bert_tf.preflight --config configs/finetune_mrpc.py --set init_from=DIR --topology v4:2x2x1 --json

Says whether the step compiles, and at which layer not; how much of each chip's memory it takes; its operations and
bytes; the least time that a step and the run take, and which of the two binds. --largest_batch looks for the largest
batch that fits. Results are kept in ~/.cache/bert_tf. Needs the environment that `make tpu-env` builds in .venv-tpu;
it starts itself there. The least times are a bound, not a promise: no step was ever timed on a TPU here.
"""

import dataclasses
import importlib.util
import json
import os
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
    from bert_tf.tpu import chips, compiling, kept, runs, search

    chip = chips.chip_of(topology)
    made = runs.of_config(config, sequences_per_row)
    batch_size = config.train.global_batch_size
    if not largest_batch:
        return _figures(made, kept.compile_step(made, topology, batch_size), price), made.notes
    cores = len(compiling.devices_of(topology))

    def compile_step(rows: int) -> compiling.Compiled:
        return kept.compile_step(made, topology, rows * cores)

    wanted = compiling.examples_of_a_core(made, cores, batch_size)
    tries = search.Search(compile_step, chip.hbm)
    compiled = tries.first_that_fits(wanted, config.train.microbatches)
    found, notes = _figures(made, compiled, price), list(made.notes)
    if compiled.examples_per_core < wanted:
        # As many examples as the config wants take more of these smaller steps.
        times = wanted / compiled.examples_per_core
        found |= {name: found[name] * times for name in ("hours", "chip_hours", "cost") if name in found}
        found["steps"] = round(found["steps"] * times)
        notes.append(f"{wanted} examples a chip do not fit; so many steps of fewer that all examples are seen")
    found["largest_examples_per_core"] = tries.largest(compiled)
    found["tried_examples_per_core"] = tries.tried
    found["refused"] = [dataclasses.asdict(refused) for refused in tries.refused]
    return found, notes


def _figures(made, compiled, price: float | None) -> dict:
    from bert_tf.tpu import reporting

    batch = compiled.cores * compiled.examples_per_core
    shapes = {name: (batch, *shape) for name, (shape, _) in made.features.items()}
    # The backward pass takes twice the operations of the forward pass.
    analytic = 3.0 * made.model.forward_flops(shapes)
    return reporting.figures(compiled, steps=made.train.steps, analytic_flops=analytic, price=price)


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
