"""Compiles a run's training step with the real TPU compiler, on a machine that has no TPU."""

import dataclasses
import re
import time
from typing import Any

import numpy as np

from bert_tf.core.errors import InputError, reason_of
from bert_tf.preflight.step_inputs import StepInputs
from bert_tf.training.engines.tensorflow import TensorFlowPieces
from bert_tf.training.optimizer import Slots
from bert_tf.training.step import Step, whole_step

_LAYER = re.compile(r"(?:[a-z_]+\d*/)*(?:layer_\d+|embeddings|masked_lm|next_sentence|classifier|pooler)(?:/[a-z_]+)*")


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of one core.

    Attributes:
      topology: such as v5e:2x2.
      cores: of it.
      examples_per_core: of a step.
      argument_bytes: weights, optimizer state and batch.
      temporary_bytes: activations and what else lives during a step.
      output_bytes: of results that take no argument's place.
      flops, bytes_accessed: of a step.
      seconds: that compiling took.
    """

    topology: str
    cores: int
    examples_per_core: int
    argument_bytes: int
    temporary_bytes: int
    output_bytes: int
    flops: float
    bytes_accessed: float
    seconds: float

    @property
    def total_bytes(self) -> int:
        return self.argument_bytes + self.temporary_bytes + self.output_bytes


class DoesNotFitError(InputError):
    """The step takes more memory than a core has.

    Attributes:
      memory: "hbm" for the core's own, "vmem" for the vector memory that an operation works in.
    """

    def __init__(self, sentence: str, memory: str):
        super().__init__(sentence)
        self.memory = memory


def devices_of(topology: str) -> list:
    """JAX's descriptions of the cores.

    Raises:
      InputError: a topology that the compiler does not know.
    """
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology, **_chip_config(topology)).devices
    except Exception as error:  # the compiler's own kinds of errors
        raise InputError(
            f"--topology {topology}: expected one such as v5e:2x2. Received: {reason_of(error)}."
        ) from None


def _chip_config(topology: str) -> dict[str, str]:
    # The two cores of a v4 chip run as one device, with the chip's whole memory, as on a TPU VM. The compiler's own
    # default is two devices there, and one for the generations since.
    return {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A step as the compiler takes it.

    Attributes:
      topology, cores, examples_per_core: see Compiled.
      microbatches: of the run.
      step: JAX's.
    """

    topology: str
    cores: int
    examples_per_core: int
    microbatches: int
    step: Any

    @property
    def text(self) -> str:
        """The program, in StableHLO: the same for the same step."""
        return self.step.as_text()

    def compile(self) -> Compiled:
        """Runs the compiler, for minutes.

        Raises:
          InputError: a step that the compiler refuses, with the layer where it stands; DoesNotFitError: too little
            memory.
        """
        begin = time.monotonic()
        try:
            compiled = self.step.compile()
        except Exception as error:
            raise _refusal(error, self.topology) from None
        memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
        # The compiler counts the body of a loop once, and the loop over microbatches is nearly all of the step.
        times = self.microbatches
        return Compiled(
            topology=self.topology,
            cores=self.cores,
            examples_per_core=self.examples_per_core,
            argument_bytes=memory.argument_size_in_bytes,
            temporary_bytes=memory.temp_size_in_bytes,
            output_bytes=max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes),
            flops=cost["flops"] * times,
            bytes_accessed=cost["bytes accessed"] * times,
            seconds=time.monotonic() - begin,
        )


def examples_of_a_core(run: StepInputs, cores: int, global_batch_size: int) -> int:
    """How a batch divides.

    Raises:
      InputError: unevenly.
    """
    rows, uneven = divmod(global_batch_size, cores)
    if uneven or rows % run.train.microbatches:
        raise InputError(
            f"train.global_batch_size={global_batch_size}: expected a multiple of cores x microbatches = "
            f"{cores} x {run.train.microbatches}."
        )
    return rows


def lower(run: StepInputs, topology: str, global_batch_size: int) -> Lowered:
    """Forward, backward, all-reduce, clipping and the optimizer's update as one program for the cores of a topology.

    Args:
      run: what is trained.
      topology: such as v5e:2x2.
      global_batch_size: may be other than the run's.

    Raises:
      InputError: a batch that does not divide into the cores, or a step that cannot be a program for TPUs, with the
        layer where it stands.
    """
    devices = devices_of(topology)
    rows = examples_of_a_core(run, len(devices), global_batch_size)
    try:
        step = lowered_step(run, devices, global_batch_size)
    except Exception as error:
        raise _refusal(error, topology) from None
    return Lowered(topology, len(devices), rows, run.train.microbatches, step)


def lowered_step(run: StepInputs, devices: list, batch_size: int):
    """JAX's lowered step, the function that the engine runs on every replica; its compile() runs the compiler."""
    import jax
    from jax.experimental.jax2tf import call_tf
    from jax.sharding import Mesh, PartitionSpec

    step = Step(run.model, run.objective)
    pieces = _OnJax(TensorFlowPieces(step, train=run.train, training=run.training, is_compiled=True), call_tf)

    # Weights and slots are arguments: the compiler takes no captured variables.
    def train_step(weights, first, second, scale, frozen, batch, number):
        return whole_step(
            pieces,
            lambda values: jax.lax.psum(values, "core"),
            weights=weights,
            frozen=frozen,
            slots=Slots(first, second, scale),
            batch=batch,
            number=number,
            replica=jax.lax.axis_index("core"),
            stop=jax.numpy.zeros((), np.float32),
        )

    # 64-bit steps and seeds, as the trainer has them.
    with jax.enable_x64(True):
        shapes, frozen = (
            [jax.ShapeDtypeStruct(tuple(v.shape), np.float32) for v in variables]
            for variables in (step.weights, step.frozen)
        )
        batch = {
            name: jax.ShapeDtypeStruct((batch_size, *shape), dtype) for name, (shape, dtype) in run.features.items()
        }
        sharded, replicated = PartitionSpec("core"), PartitionSpec()
        mapped = jax.shard_map(
            train_step,
            mesh=Mesh(np.array(devices), ("core",)),
            in_specs=(*[replicated] * 5, sharded, replicated),
            out_specs=replicated,
            check_vma=False,
        )
        scale, number = jax.ShapeDtypeStruct((2,), np.float32), jax.ShapeDtypeStruct((), np.int64)
        arguments = (shapes, shapes, shapes, scale, frozen, batch, number)
        return jax.jit(mapped, donate_argnums=(0, 1, 2, 3)).lower(*arguments)


class _OnJax:
    """The engine's pieces, called from JAX."""

    def __init__(self, pieces: TensorFlowPieces, call_tf):
        self.denominators = call_tf(pieces.denominators)
        self.gradients = call_tf(pieces.gradients)

        def update(weights, first, second, scale, gradients, number):
            weights, slots, reported = pieces.update(weights, Slots(first, second, scale), gradients, number)
            return weights, list(slots.first), list(slots.second), slots.scale, reported

        self._update = call_tf(update)

    def update(self, weights, slots, gradients, number):
        weights, first, second, scale, reported = self._update(weights, *slots, gradients, number)
        return weights, Slots(first, second, scale), reported


def _memory_needed(text: str) -> str | None:
    """What the compiler says of too little memory: of all arrays together, or of a single one that is too large."""
    together = re.search(r"Used ([\d.]+\w) of ([\d.]+\w) hbm", text)
    if together:
        return f"{together.group(1)} of {together.group(2)} of a core's memory"
    one = re.search(r"Allocation \(size=(\d+)\) would exceed memory \(size=(\d+)\)", text)
    if one:
        size, memory = (int(number) / 2**30 for number in one.groups())
        return f"{size:.2f}G in one array of {memory:.2f}G of a core's memory"
    return None


def _refusal(error: Exception, topology: str) -> InputError:
    """The compiler's error as one sentence, with the layer that it names."""
    text = str(error)
    needed = _memory_needed(text)
    if needed:
        message = (
            f"--topology {topology}: expected a step that fits. Received one that takes {needed}: "
            "raise train.microbatches, set train.rematerialize=true, or lower train.global_batch_size."
        )
        return DoesNotFitError(message, "hbm")
    vector = re.search(r"Used ([\d.]+\w) of ([\d.]+\w) vmem", text)
    if vector:  # of its own making, at some sizes of a batch
        return DoesNotFitError(
            f"--topology {topology}: expected a step that fits. Received one with an operation that takes "
            f"{vector.group(1)} of {vector.group(2)} of a core's vector memory, as the compiler puts it together: "
            "another train.global_batch_size or train.microbatches may compile.",
            "vmem",
        )
    layers = list(dict.fromkeys(_LAYER.findall(text)))
    where = f" at {layers[0]}" if layers else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next(
        (
            line
            for line in lines
            if re.search(r"compile-time constant|dynamic|not supported|No registered|Detected unsupported", line)
        ),
        reason_of(error),
    )
    return InputError(f"--topology {topology}: expected a step that compiles. Refused{where}: {told[:400]}")
