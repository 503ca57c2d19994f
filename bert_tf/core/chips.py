"""What accelerators can do, as their makers publish it, and the least time of a step. Standard library only.

TPUs: of one chip, which JAX sees as one device (docs.cloud.google.com/tpu/docs). GPUs: NVIDIA's data sheets, dense
products with bfloat16 or float16 factors.
"""

import dataclasses
import re

from bert_tf.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class Chip:
    """A generation.

    Attributes:
      hbm: bytes of memory.
      flops: bfloat16 operations a second; float32 matrix products run as bfloat16 ones unless asked otherwise.
      bandwidth: bytes of memory a second.
    """

    hbm: float
    flops: float
    bandwidth: float


CHIPS = {
    "v4": Chip(32 * 2**30, 275e12, 1228e9),
    "v5e": Chip(16 * 2**30, 197e12, 819e9),
    "v5p": Chip(95 * 2**30, 459e12, 2765e9),
    "v6e": Chip(32 * 2**30, 918e12, 1640e9),
}

_GPU_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12, "A10G": 70e12, "T4": 65e12, "V100": 125e12}
# What the environment of a TPU VM calls a generation.
_ACCELERATOR_TYPES = {"v4": "v4", "v5litepod": "v5e", "v5p": "v5p", "v6e": "v6e"}


def published_flops(name: str) -> float | None:
    """16-bit operations a second of a device named "NVIDIA H100 80GB HBM3" or "v5litepod-4"; None if it is unknown."""
    generation = _ACCELERATOR_TYPES.get(name.partition("-")[0])
    if generation is not None:
        return CHIPS[generation].flops
    return next((flops for model, flops in _GPU_FLOPS.items() if re.search(rf"\b{model}\b", name)), None)


def chip_of(topology: str) -> Chip:
    """The chip of a topology such as v5e:2x2.

    Raises:
      InputError: a generation that is not in the table.
    """
    generation = re.match(r"v\d+\w*", topology)
    if generation is None or generation.group(0) not in CHIPS:
        raise InputError(f"--topology {topology}: expected one of {', '.join(CHIPS)}, such as v5e:2x2.")
    return CHIPS[generation.group(0)]


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The least time of a step: of its operations, and of the bytes that they move (Williams et al. 2009).

    What chips say to one another comes on top; it overlaps with the backward pass.
    """

    compute_seconds: float
    memory_seconds: float

    @property
    def seconds(self) -> float:
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def bound(self) -> str:
        """Which of the two binds: compute or memory."""
        return "compute" if self.compute_seconds >= self.memory_seconds else "memory"


def roofline(chip: Chip, *, flops: float, bytes_accessed: float) -> Roofline:
    """Of one chip's share of a step."""
    return Roofline(flops / chip.flops, bytes_accessed / chip.bandwidth)
