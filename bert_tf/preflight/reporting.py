"""What was compiled, in plain words and as JSON. No compiler is needed for it."""

import dataclasses

from bert_tf.core.chips import chip_of, roofline
from bert_tf.preflight.compiling import Compiled

_GIB = 2**30


def figures(compiled: Compiled, *, steps: int, analytic_flops: float, price: float | None = None) -> dict:
    """What follows from a compiled step.

    Args:
      compiled: of the compiler.
      steps: of the run.
      analytic_flops: of all cores' step, counted from the network.
      price: of a chip and hour, in whatever currency; None for none.
    """
    chip = chip_of(compiled.topology)
    line = roofline(chip, flops=compiled.flops, bytes_accessed=compiled.bytes_accessed)
    hours = steps * line.seconds / 3600
    examples = compiled.cores * compiled.examples_per_core / line.seconds
    found = {
        **dataclasses.asdict(compiled),
        "hbm_bytes": chip.hbm,
        "fits": compiled.total_bytes <= chip.hbm,
        "analytic_flops_per_core": analytic_flops / compiled.cores,
        "compute_seconds": line.compute_seconds,
        "memory_seconds": line.memory_seconds,
        "step_seconds": line.seconds,
        "bound": line.bound,
        "examples_per_second": examples,
        "examples_per_second_and_chip": examples / compiled.cores,
        "steps": steps,
        "hours": hours,
        "chip_hours": hours * compiled.cores,
    }
    if price is not None:
        found["cost"] = found["chip_hours"] * price
    return found


def words(found: dict, notes: list[str]) -> str:
    """Figures for a reader."""
    together = found["argument_bytes"] + found["temporary_bytes"] + found["output_bytes"]
    fits = "fits into" if found["fits"] else "does not fit into"
    lines = [
        f"compiles for {found['topology']}, {found['cores']} chips, {found['examples_per_core']} examples on each "
        f"({found['seconds']:.0f} s)",
        *(f"  assumed: {note}" for note in notes),
        *(f"  {one['examples_per_core']} examples a chip: {one['sentence']}" for one in found.get("refused", ())),
        f"memory a chip: weights, optimizer state, batch {found['argument_bytes'] / _GIB:.3f} GiB, activations "
        f"{found['temporary_bytes'] / _GIB:.3f} GiB, together {together / _GIB:.3f}: {fits} its "
        f"{found['hbm_bytes'] / _GIB:.0f} GiB",
        f"a step and chip: {found['flops'] / 1e9:.1f} G operations (counted from the network: "
        f"{found['analytic_flops_per_core'] / 1e9:.1f}), {found['bytes_accessed'] / 1e9:.2f} GB moved",
        f"at least {found['step_seconds'] * 1000:.2f} ms a step: {found['compute_seconds'] * 1000:.2f} of computing, "
        f"{found['memory_seconds'] * 1000:.2f} of memory; {found['bound']} binds",
        f"at most {found['examples_per_second']:.0f} examples/s; {found['steps']:,} steps take at least "
        f"{found['hours']:.1f} hours, {found['chip_hours']:.1f} chip-hours",
    ]
    if "cost" in found:
        lines[-1] += f", {found['cost']:.0f} at the price that was given"
    if "largest_examples_per_core" in found:
        lines.append(
            f"the largest power-of-two multiple that fits: {found['largest_examples_per_core']} examples a chip"
        )
    if not found["fits"]:
        lines.append(
            "to make it fit: raise train.microbatches, set train.rematerialize=true, lower train.global_batch_size, or "
            "take more chips"
        )
    return "\n".join(lines)
