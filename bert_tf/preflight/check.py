"""Figures of a run's training step, compiled by the real TPU compiler."""

import dataclasses

from bert_tf.core.config import FinetuneConfig, PretrainConfig


def run(
    config: PretrainConfig | FinetuneConfig,
    topology: str,
    *,
    sequences_per_row: int = 0,
    largest_batch: bool = False,
    price: float | None = None,
) -> tuple[dict, list[str]]:
    """Figures of a compiled step (see bert_tf.preflight.reporting) and what was assumed.

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
    from bert_tf.core import chips
    from bert_tf.preflight import compile_cache, compiling, search
    from bert_tf.preflight import step_inputs as runs

    chip = chips.chip_of(topology)
    made = runs.of_config(config, sequences_per_row)
    batch_size = config.train.global_batch_size
    if not largest_batch:
        return _figures(made, compile_cache.compile_step(made, topology, batch_size), price), made.notes
    cores = len(compiling.devices_of(topology))

    def compile_step(rows: int) -> compiling.Compiled:
        return compile_cache.compile_step(made, topology, rows * cores)

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
    from bert_tf.preflight import reporting

    batch = compiled.cores * compiled.examples_per_core
    shapes = {name: (batch, *shape) for name, (shape, _) in made.features.items()}
    # The backward pass takes twice the operations of the forward pass.
    analytic = 3.0 * made.model.forward_flops(shapes)
    return reporting.figures(compiled, steps=made.train.steps, analytic_flops=analytic, price=price)
