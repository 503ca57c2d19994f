"""What is known of accelerators by the names that they have."""

import pytest

from bert_tf.core import chips
from bert_tf.core.errors import InputError


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("Tesla T4", 65e12),
        ("Tesla V100-SXM2-16GB", 125e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA A10G", 70e12),
        ("v4-8", 275e12),
        ("v5litepod-4", 197e12),
        ("v5p-8", 459e12),
        ("v6e-1", 918e12),
        # Others whose names begin alike, and processors.
        ("NVIDIA L40S", None),
        ("NVIDIA A10", None),
        ("NVIDIA T400", None),
        ("NVIDIA GeForce RTX 4090", None),
        ("v3-8", None),
        ("", None),
    ],
)
def test_published_speed_of_a_device_by_its_name(name, flops):
    assert chips.published_flops(name) == flops


def test_chip_of_a_topology():
    assert chips.chip_of("v5e:2x2") == chips.CHIPS["v5e"]
    assert chips.chip_of("v5e:2x2").flops == chips.published_flops("v5litepod-4")
    with pytest.raises(InputError, match="--topology v9:2x2: expected one of v4, v5e, v5p, v6e, such as v5e:2x2."):
        chips.chip_of("v9:2x2")


def test_the_slower_of_computing_and_moving_bytes_bounds_a_step():
    chip = chips.Chip(hbm=1e9, flops=100.0, bandwidth=10.0)
    computing = chips.roofline(chip, flops=500.0, bytes_accessed=20.0)
    assert (computing.seconds, computing.bound) == (5.0, "compute")
    moving = chips.roofline(chip, flops=500.0, bytes_accessed=80.0)
    assert (moving.seconds, moving.bound) == (8.0, "memory")
