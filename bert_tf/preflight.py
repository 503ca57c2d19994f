"""Compiles a run's training step with the real TPU compiler, on a machine that has no TPU.

python -m bert_tf.preflight --config configs/pretrain_tiny.py --topology v5e:2x2

Says whether the step compiles and how much of each core's memory it takes. Needs the environment that `make tpu-env`
builds in .venv-tpu, and starts itself there.
"""

import importlib.util
import os
import re
import subprocess
import sys

from absl import flags

from bert_tf import command, config_io
from bert_tf.config import PretrainConfig
from bert_tf.errors import InputError

# HBM of one chip in GiB, from Google's published specifications; on these generations JAX sees one device a chip.
_HBM_GIB = {"v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # no metadata server to ask
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def compile_step(config: PretrainConfig, topology: str):
    """Compiles forward, backward, all-reduce, clipping and the optimizer's update for every core of a topology.

    Args:
      config: a pretraining run.
      topology: such as v5e:2x2.

    Returns:
      JAX's compiled step; its memory_analysis() is per core.

    Raises:
      InputError: a topology the compiler does not know, or a batch that does not divide into its cores.
    """
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.experimental.jax2tf import call_tf
    from jax.sharding import Mesh, PartitionSpec

    from bert_tf.modeling.pretraining import BertForPreTraining
    from bert_tf.training import optimizer, precision
    from bert_tf.training.step import Step

    try:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except Exception as error:  # the compiler's own kinds of errors
        reason = str(error).splitlines()[0]
        raise InputError(f"--topology {topology}: expected one such as v5e:2x2. Received: {reason}.") from None
    rows, uneven = divmod(config.train.global_batch_size, len(devices))
    if uneven or rows % config.train.microbatches:
        raise InputError(
            f"train.global_batch_size={config.train.global_batch_size}: expected a multiple of cores x microbatches = "
            f"{len(devices)} x {config.train.microbatches}."
        )
    model = BertForPreTraining(config.model, dtype=precision.policy(config.train.precision))
    model.build()
    step_functions = Step(model, train=config.train, optimizer_config=config.optimizer)

    # Weights and slots are arguments: the compiler takes no captured variables.
    def weights_of_losses(batch):
        return model.loss_weights(batch)

    def gradients(weights, batch, totals, step, replica, scale):
        return step_functions.gradients(weights, batch, totals, step, replica, scale)

    def update(weights, first, second, scale, summed, step):
        slots = optimizer.Slots(first, second, scale)
        new_weights, slots, told = step_functions.update(weights, slots, summed, step)
        return new_weights, list(slots.first), list(slots.second), slots.scale, told

    def train_step(weights, first, second, scale, batch, step):
        totals = jax.lax.psum(call_tf(weights_of_losses)(batch), "core")
        replica = jax.lax.axis_index("core")
        local, sums = call_tf(gradients)(weights, batch, totals, step, replica, scale[0])
        summed = jax.lax.psum(local, "core")
        return *call_tf(update)(weights, first, second, scale, summed, step), jax.lax.psum(sums, "core")

    # 64-bit steps and seeds, as the trainer has them.
    with jax.enable_x64(True):
        shapes = [jax.ShapeDtypeStruct(tuple(v.shape), np.float32) for v in model.trainable_variables]
        batch = {
            name: jax.ShapeDtypeStruct((config.train.global_batch_size, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
            for name, spec in _batch_specs(config).items()
        }
        sharded, replicated = PartitionSpec("core"), PartitionSpec()
        mapped = jax.shard_map(
            train_step,
            mesh=Mesh(np.array(devices), ("core",)),
            in_specs=(replicated, replicated, replicated, replicated, sharded, replicated),
            out_specs=replicated,
            check_vma=False,
        )
        scale, step = jax.ShapeDtypeStruct((2,), np.float32), jax.ShapeDtypeStruct((), np.int64)
        arguments = (shapes, shapes, shapes, scale, batch, step)
        return jax.jit(mapped, donate_argnums=(0, 1, 2, 3)).lower(*arguments).compile()


def _batch_specs(config: PretrainConfig) -> dict:
    import tensorflow as tf

    from bert_tf import records

    layout = records.RecordLayout(
        max_seq_length=config.data.max_seq_length, max_predictions_per_seq=config.data.max_predictions_per_seq
    )
    specs = {
        name: tf.TensorSpec((None, *shape), tf.int32 if dtype == "int64" else tf.float32)
        for name, (shape, dtype) in layout.features.items()
    }
    return {**specs, "next_sentence_weights": tf.TensorSpec((None, 1), tf.float32)}


def report(compiled, topology: str) -> str:
    """What the compiler says of one core, in plain words."""
    memory = compiled.memory_analysis()
    gib = 1024**3
    arguments, temporary = memory.argument_size_in_bytes / gib, memory.temp_size_in_bytes / gib
    # The new weights and slots take the place of the old ones.
    total = arguments + temporary + max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes) / gib
    cost = compiled.cost_analysis()
    lines = [
        f"compiles for {topology}",
        f"weights, optimizer state and batch  {arguments:8.3f} GiB a core",
        f"activations and temporaries         {temporary:8.3f} GiB a core",
        f"together                            {total:8.3f} GiB a core",
        f"floating-point operations           {cost['flops'] / 1e9:8.1f} G a step and core",
    ]
    generation = re.match(r"v\d\w*", topology)
    hbm = _HBM_GIB.get(generation.group(0) if generation else "")
    if hbm:
        fits = "fits into" if total <= hbm else "does not fit into"
        lines.append(f"{fits} the chip's {hbm} GiB")
    return "\n".join(lines)


def main(_) -> None:
    config = config_io.load(flags.FLAGS.config, flags.FLAGS.set, PretrainConfig)
    if importlib.util.find_spec("libtpu") is None:
        python = os.path.join(".venv-tpu", "bin", "python")
        if not os.path.exists(os.path.join(".venv-tpu", "bin", ".complete")):
            raise InputError(
                "Expected the TPU compiler in .venv-tpu. Received no finished one: run make tpu-env first."
            )
        arguments = [python, "-m", "bert_tf.preflight", *sys.argv[1:]]
        sys.exit(subprocess.run(arguments, env={**os.environ, **_ENVIRONMENT}, check=False).returncode)
    print("compiling, which takes a minute or more ...", file=sys.stderr, flush=True)
    print(report(compile_step(config, flags.FLAGS.topology), flags.FLAGS.topology))


if __name__ == "__main__":
    flags.DEFINE_string("config", None, "Python file with get_config() of a pretraining run.", required=True)
    flags.DEFINE_multi_string("set", [], "Overrides one field of the config: --set section.field=value.")
    flags.DEFINE_string("topology", "v5e:2x2", "TPU generation and shape, such as v5e:2x2 or v4:2x2x1.")
    command.run(main)
