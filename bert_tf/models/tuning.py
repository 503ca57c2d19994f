"""Which weights of a model learn, and how fast: frozen layers, LoRA, adapters, layer-wise rates."""

import math
from collections.abc import Collection

import keras

from bert_tf.core.config import TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.models.family import WeightRecord, records


def lora_layers(model: keras.Model) -> dict[str, WeightRecord]:
    """{module's name in transformers: record of its kernel} of every dense layer that LoRA may be added to."""
    return {record.name.removesuffix(".weight"): record for record in records(model) if record.layer is not None}


def prepare(model: keras.Model, config: TuningConfig, learning: Collection[str] = ()) -> None:
    """Freezes what does not learn and adds LoRA, in a model whose weights are loaded. Adapters are made with it.

    LoRA (Hu et al. 2021): W + alpha / rank * A B, with B = 0 at first, so nothing changes before the first step.

    Args:
      model: built.
      config: what to do.
      learning: names of weights that learn whatever the config says, since they were not in the source.

    Raises:
      InputError: a part that the family does not have.
    """
    unknown = sorted(set(config.lora_targets) - set(model.family.lora_targets))
    if config.method == "lora" and unknown:
        known = ", ".join(model.family.lora_targets)
        raise InputError(f"tuning.lora_targets: expected some of {known}. Received: {unknown[0]}.")
    blocks = len(model.encoder.blocks)
    for record in records(model):
        if record.name not in learning and _is_frozen(record, config, blocks):
            record.variable.trainable = False
    if config.method == "lora":
        for record in lora_layers(model).values():
            if record.part in config.lora_targets:
                record.layer.enable_lora(config.lora_rank, lora_alpha=config.lora_alpha)
                record.layer.bias.trainable = False


def _is_frozen(record: WeightRecord, config: TuningConfig, blocks: int) -> bool:
    """Whether a weight does not learn by itself."""
    if record.part in ("head", "adapter"):
        return False
    if config.method != "full" or config.frozen_layers == -1:
        return True  # the pooler too, or it would be most of what learns
    # However many, they are blocks: the pooler, at depth 0, learns.
    return bool(config.frozen_layers) and record.depth > max(0, blocks - config.frozen_layers)


def rate_shares(model: keras.Model, decay: float) -> list[float]:
    """For each trainable variable decay^n, where it lies n blocks below the head (Clark et al. 2020, appendix A)."""
    depths = {id(record.variable): record.depth for record in records(model)}
    for record in lora_layers(model).values():
        depths |= {id(variable): record.depth for variable in record.layer.trainable_variables}  # LoRA's own
    return [decay ** depths.get(id(variable), 0) for variable in model.trainable_variables]


def trained_share(model: keras.Model) -> tuple[int, int]:
    """How many numbers learn, and how many there are."""
    learning = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    frozen = [v for v in model.non_trainable_variables if "float" in v.dtype]
    return learning, learning + sum(math.prod(variable.shape) for variable in frozen)
