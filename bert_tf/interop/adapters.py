"""What learned beside a frozen encoder, saved alone: LoRA in the layout of Hugging Face's `peft`, adapters in ours."""

import json
import os

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bert_tf import config_io
from bert_tf.config_finetune import TuningConfig
from bert_tf.errors import InputError
from bert_tf.interop.huggingface import named_arrays
from bert_tf.modeling import tuning

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
# peft knows a layer by how its name ends.
_TARGETS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}
_HEADS = ("classifier.", "qa_outputs.")


def save(path: str, model: keras.Model, config: TuningConfig, *, base: str, settings: dict) -> None:
    """Writes adapter_config.json and adapter_model.safetensors, which hold what learned, the head included.

    Args:
      path: folder.
      model: with LoRA or adapters.
      config: how they were made.
      base: where the frozen weights came from, for the reader.
      settings: what a model directory says beside its weights, for bert_tf.convert.
    """
    os.makedirs(path, exist_ok=True)
    tensors = {f"{_PREFIX}{name}": value for name, value in named_arrays(model) if name.startswith(_HEADS)}
    told = {"base_model_name_or_path": base, "bert_tf": settings}
    if config.method == "lora":
        for name, layer in tuning.lora_layers(model).items():
            if layer.lora_enabled:
                tensors[f"{_PREFIX}{name}.lora_A.weight"] = keras.ops.convert_to_numpy(layer.lora_kernel_a).T
                tensors[f"{_PREFIX}{name}.lora_B.weight"] = keras.ops.convert_to_numpy(layer.lora_kernel_b).T
        heads = sorted({name.removeprefix(_PREFIX).split(".")[0] for name in tensors if ".lora_" not in name})
        told |= {
            "peft_type": "LORA",
            "r": config.lora_rank,
            "lora_alpha": config.lora_alpha,
            "target_modules": [_TARGETS[name] for name in config.lora_targets],
            # "output.dense" is the end of attention.output.dense too.
            "exclude_modules": r".*attention\.output\.dense"
            if "output" in config.lora_targets and "attention_output" not in config.lora_targets
            else None,
            "modules_to_save": heads or None,
            "bias": "none",
            "lora_dropout": 0.0,
            "inference_mode": True,
        }
    else:
        tensors |= {f"{_PREFIX}{name}": value for name, value in named_arrays(model) if ".adapter." in name}
        told |= {"peft_type": "BERT_TF_ADAPTERS", "adapter_size": config.adapter_size}
    save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, os.path.join(path, WEIGHTS))
    with open(os.path.join(path, CONFIG), "w", encoding="utf-8") as file:
        json.dump(told, file, indent=2)
        file.write("\n")


def load(path: str, model: keras.Model) -> TuningConfig:
    """Adds a saved LoRA to a model whose own weights are loaded, or sets its adapters; sets the head.

    Returns:
      The method and its sizes.

    Raises:
      InputError: no adapter, or one of another model.
    """
    settings = config_io.read_json(os.path.join(path, CONFIG))
    source = os.path.join(path, WEIGHTS)
    try:
        tensors = load_file(source)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{source}: expected an adapter's weights. Received: {error}.") from None
    if settings.get("peft_type") == "LORA":
        ends = {end: name for name, end in _TARGETS.items()}
        targets = tuple(ends.get(name, name) for name in settings["target_modules"])
        config = TuningConfig(
            method="lora", lora_rank=settings["r"], lora_alpha=settings["lora_alpha"], lora_targets=targets
        )
        tuning.prepare(model, config)
        for name, layer in tuning.lora_layers(model).items():
            if layer.lora_enabled:
                for part, variable in (("A", layer.lora_kernel_a), ("B", layer.lora_kernel_b)):
                    _assign(variable, tensors, f"{_PREFIX}{name}.lora_{part}.weight", source)
    else:
        config = TuningConfig(method="adapters", adapter_size=settings["adapter_size"])
        for index, block in enumerate(model.encoder.blocks):
            for place, adapter in zip(("attention.output", "output"), block.adapters, strict=False):
                prefix = f"{_PREFIX}bert.encoder.layer.{index}.{place}.adapter"
                for part, layer in (("down", adapter.down), ("up", adapter.up)):
                    _assign(layer.kernel, tensors, f"{prefix}.{part}.weight", source)
                    _assign(layer.bias, tensors, f"{prefix}.{part}.bias", source)
        tuning.prepare(model, config)
    for head in (name.removesuffix(".") for name in _HEADS):
        if hasattr(model, head):
            _assign(getattr(model, head).kernel, tensors, f"{_PREFIX}{head}.weight", source)
            _assign(getattr(model, head).bias, tensors, f"{_PREFIX}{head}.bias", source)
    return config


def _assign(variable: keras.Variable, tensors: dict[str, np.ndarray], name: str, source: str) -> None:
    if name not in tensors:
        raise InputError(f"{source}: expected {name}. Received an adapter without it, of another model.")
    value = tensors[name].T if name.endswith("weight") else tensors[name]
    if tuple(value.shape) != tuple(variable.shape):
        raise InputError(f"{source}: {name}: expected shape {tuple(variable.shape)}. Received: {tuple(value.shape)}.")
    variable.assign(value)
