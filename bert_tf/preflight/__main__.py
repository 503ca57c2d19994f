"""Compiles a run's training step with the real TPU compiler, on a machine that has no TPU.

python -m bert_tf.preflight --config configs/pretrain_base_128.py --topology v5e:2x2
python -m bert_tf.preflight --config configs/finetune_mrpc.py --set init_from=DIR --topology v4:2x2x1 --json

Says whether the step compiles, and at which layer not; how much of each chip's memory it takes; its operations and
bytes; the least time that a step and the run take, and which of the two binds. --largest_batch looks for the largest
batch that fits. Results are kept in ~/.cache/bert_tf. Needs the environment that `make tpu-env` builds in .venv-tpu;
it starts itself there. The least times are a bound, not a promise: no step was ever timed on a TPU here.
"""

import importlib.util
import json
import os
import subprocess
import sys

from absl import flags

from bert_tf.core import command, config_io
from bert_tf.core.config import FinetuneConfig, PretrainConfig
from bert_tf.core.errors import InputError
from bert_tf.preflight.environment import ENVIRONMENT


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
    from bert_tf.preflight import check

    found, notes = check.run(
        config,
        values.topology,
        sequences_per_row=values.sequences_per_row,
        largest_batch=values.largest_batch,
        price=values.price_per_chip_hour,
    )
    if values.json:
        print(json.dumps({**found, "assumed": notes}))
        return
    from bert_tf.preflight import reporting

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
