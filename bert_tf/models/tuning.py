"""Which weights of a model learn, and how fast: frozen layers, LoRA, adapters, layer-wise rates."""

import keras

from bert_tf.core.config_finetune import TuningConfig


def lora_layers(model: keras.Model) -> dict[str, keras.layers.Dense]:
    """{Hugging Face's name: layer} of every dense layer that LoRA may be added to."""
    found = {}
    for index, block in enumerate(model.encoder.blocks):
        prefix = f"bert.encoder.layer.{index}"
        for name in ("query", "key", "value"):
            found[f"{prefix}.attention.self.{name}"] = getattr(block.attention, name)
        found[f"{prefix}.attention.output.dense"] = block.attention.output_dense
        found[f"{prefix}.intermediate.dense"] = block.intermediate
        found[f"{prefix}.output.dense"] = block.output_dense
    return found


def prepare(model: keras.Model, config: TuningConfig, learning: tuple[keras.Variable, ...] = ()) -> None:
    """Freezes what does not learn and adds LoRA, in a model whose weights are loaded. Adapters are made with it.

    LoRA (Hu et al. 2021): W + alpha / rank * A B, with B = 0 at first, so nothing changes before the first step.

    Args:
      model: built.
      config: what to do.
      learning: weights that learn whatever the config says, since they came from nowhere.
    """
    encoder, kept = model.encoder, {id(variable) for variable in learning}
    if config.method == "full":
        blocks = encoder.blocks if config.frozen_layers == -1 else encoder.blocks[: config.frozen_layers]
        frozen = [encoder.embeddings, *blocks] if config.frozen_layers else []
        if config.frozen_layers == -1 and encoder.pooler is not None:
            frozen.append(encoder.pooler)
        _freeze(variable for layer in frozen for variable in layer.variables if id(variable) not in kept)
        return
    # The pooler stays as it is too, or it would be most of what learns.
    adapted = {id(v) for block in encoder.blocks for adapter in block.adapters for v in adapter.variables}
    _freeze(variable for variable in encoder.variables if id(variable) not in adapted | kept)
    if config.method == "lora":
        for name, layer in lora_layers(model).items():
            if _target(name) in config.lora_targets:
                layer.enable_lora(config.lora_rank, lora_alpha=config.lora_alpha)
                layer.bias.trainable = False


def rate_shares(model: keras.Model, decay: float) -> list[float]:
    """For each trainable variable decay^n, where it lies n blocks below the head (Clark et al. 2020, appendix A)."""
    depths = {}
    encoder = model.encoder
    count = len(encoder.blocks)
    for depth, layer in enumerate([encoder.embeddings, *encoder.blocks]):
        depths |= {id(variable): count + 1 - depth for variable in layer.variables}
    return [decay ** depths.get(id(variable), 0) for variable in model.trainable_variables]


def trained_share(model: keras.Model) -> tuple[int, int]:
    """How many numbers learn, and how many there are."""
    learning = sum(variable.value.shape.num_elements() for variable in model.trainable_variables)
    frozen = [v for v in model.non_trainable_variables if "float" in v.dtype]
    return learning, learning + sum(variable.value.shape.num_elements() for variable in frozen)


def _freeze(variables) -> None:
    for variable in variables:
        if "float" in variable.dtype:
            variable.trainable = False


def _target(name: str) -> str:
    """bert.encoder.layer.0.attention.self.query -> query, as tuning.lora_targets has it."""
    if ".attention.self." in name:
        return name.rsplit(".", 1)[1]
    if ".attention.output." in name:
        return "attention_output"
    return "intermediate" if ".intermediate." in name else "output"
