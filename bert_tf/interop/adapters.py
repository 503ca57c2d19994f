"""What learned beside a frozen encoder, saved alone: LoRA in the layout of Hugging Face's `peft`, adapters in ours."""

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bert_tf.core import config_io, whole_file
from bert_tf.core.config_finetune import TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import tensor_files
from bert_tf.interop.weights import named_arrays, set_value, weight_names
from bert_tf.models import tuning

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LORA, _ADAPTERS = KINDS = "LORA", "BERT_TF_ADAPTERS"
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


def save(path: str, model: keras.Model, config: TuningConfig, *, base: str, settings: dict) -> None:
    """Writes adapter_config.json and adapter_model.safetensors, which hold what learned, the head included.

    Args:
      path: folder.
      model: with LoRA or adapters.
      config: how they were made.
      base: where the frozen weights came from, for the reader.
      settings: what a model directory says beside its weights, for bert_tf.convert.
    """
    own = _own_names(settings)
    # The head, adapters, and what else learned, such as a pooler that the base did not have.
    tensors = {
        own(name): value
        for name, value, variable in named_arrays(model)
        if isinstance(variable, keras.Variable) and variable.trainable
    }
    told: dict[str, Any] = {"base_model_name_or_path": base, "bert_tf": settings}
    if config.method == "lora":
        for name, layer in tuning.lora_layers(model).items():
            if layer.lora_enabled:
                tensors[f"{own(name)}.lora_A.weight"] = keras.ops.convert_to_numpy(layer.lora_kernel_a).T
                tensors[f"{own(name)}.lora_B.weight"] = keras.ops.convert_to_numpy(layer.lora_kernel_b).T
        # peft names modules by how they end.
        heads = sorted({name.removeprefix(_PREFIX).rsplit(".", 1)[0] for name in tensors if ".lora_" not in name})
        told |= {
            "peft_type": _LORA,
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
        told |= {"peft_type": _ADAPTERS, "adapter_size": config.adapter_size}
    with whole_file.replacing_folder(path) as temporary:
        tensor_files.write(os.path.join(temporary, WEIGHTS), tensors)
        whole_file.write_json(os.path.join(temporary, CONFIG), told)


def load(path: str, model: keras.Model) -> list[str]:
    """Adds a saved LoRA to a model whose own weights are loaded, or sets its adapters; sets the head.

    Returns:
      Names of the model's own weights that were set.

    Raises:
      InputError: no adapter, or one of another model.
    """
    settings = config_io.read_json(os.path.join(path, CONFIG))
    source = os.path.join(path, WEIGHTS)
    try:
        tensors = load_file(source)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{source}: expected an adapter's weights. Received: {error}.") from None
    own = _own_names(settings.get("bert_tf") or {})
    plain = {name: (variable, transposed) for name, variable, transposed in weight_names(model)}
    expected = [name for name in plain if ".adapter." in name or name.split(".")[0] in ("classifier", "qa_outputs")]
    found = [name for name in plain if own(name) in tensors]
    for name in dict.fromkeys([*expected, *found]):
        variable, transposed = plain[name]
        _assign(variable, tensors, own(name), source, transposed=transposed)
    if settings.get("peft_type") == _LORA:
        ends = {end: name for name, end in _TARGETS.items()}
        targets = tuple(ends.get(name, name) for name in settings["target_modules"])
        config = TuningConfig(
            method="lora", lora_rank=settings["r"], lora_alpha=settings["lora_alpha"], lora_targets=targets
        )
        tuning.prepare(model, config)
        for name, layer in tuning.lora_layers(model).items():
            if layer.lora_enabled:
                for part, variable in (("A", layer.lora_kernel_a), ("B", layer.lora_kernel_b)):
                    key = f"{own(name)}.lora_{part}.weight"
                    _assign(variable, tensors, key, source, transposed=True)
    return found


def _own_names(settings: dict) -> Callable[[str], str]:
    """A weight's name -> what peft calls it: a bare encoder's have no "bert." there."""
    extra = "bert." if settings.get("architecture") == "BertModel" else ""
    return lambda name: _PREFIX + name.removeprefix(extra)


def _assign(
    variable: keras.Variable, tensors: dict[str, np.ndarray], name: str, source: str, *, transposed: bool
) -> None:
    if name not in tensors:
        raise InputError(f"{source}: expected {name}. Received an adapter without it, of another model.")
    set_value(variable, tensors[name].T if transposed else tensors[name], f"{source}: {name}")
