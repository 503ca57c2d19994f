"""What learned beside a frozen encoder, saved alone: LoRA in the layout of Hugging Face's `peft`, adapters in ours."""

import os
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bert_tf.core import config_io, whole_file
from bert_tf.core.config import TuningConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import tensor_files
from bert_tf.interop.weights import named_arrays, set_value
from bert_tf.models import tuning
from bert_tf.models.family import Family, architecture_of, records

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LORA, _ADAPTERS = KINDS = "LORA", "BERT_TF_ADAPTERS"
_PREFIX = "base_model.model."


def save(path: str, model: keras.Model, config: TuningConfig, *, base: str, settings: dict) -> None:
    """Writes adapter_config.json and adapter_model.safetensors, which hold what learned, the head included.

    Args:
      path: folder.
      model: with LoRA or adapters.
      config: how they were made.
      base: where the frozen weights came from, for the reader.
      settings: what a model directory says beside its weights, for bert_tf.convert.
    """
    own = _own_names(model.family, architecture_of(model))
    # The head, adapters, and what else learned, such as a pooler that the base did not have.
    tensors = {
        own(record.name): value
        for record, value in named_arrays(model)
        if isinstance(record.variable, keras.Variable) and record.variable.trainable
    }
    told: dict[str, Any] = {"base_model_name_or_path": base, "bert_tf": settings}
    if config.method == "lora":
        targets = model.family.lora_targets
        for name, record in tuning.lora_layers(model).items():
            layer = record.layer
            if layer.lora_enabled:
                tensors[f"{own(name)}.lora_A.weight"] = keras.ops.convert_to_numpy(layer.lora_kernel_a).T
                tensors[f"{own(name)}.lora_B.weight"] = keras.ops.convert_to_numpy(layer.lora_kernel_b).T
        # peft names modules by how they end.
        heads = sorted({name.removeprefix(_PREFIX).rsplit(".", 1)[0] for name in tensors if ".lora_" not in name})
        told |= {
            "peft_type": _LORA,
            "r": config.lora_rank,
            "lora_alpha": config.lora_alpha,
            "target_modules": [targets[part] for part in config.lora_targets],
            "exclude_modules": _meant_otherwise(targets, config.lora_targets),
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
    own = _own_names(model.family, architecture_of(model))
    plain = {record.name: record for record in records(model)}
    expected = [record.name for record in plain.values() if record.part in ("adapter", "head")]
    found = [name for name in plain if own(name) in tensors]
    for name in dict.fromkeys([*expected, *found]):
        _assign(plain[name].variable, tensors, own(name), source, transposed=plain[name].transposed)
    if settings.get("peft_type") == _LORA:
        parts = {end: part for part, end in model.family.lora_targets.items()}
        targets = tuple(parts.get(name, name) for name in settings["target_modules"])
        config = TuningConfig(
            method="lora", lora_rank=settings["r"], lora_alpha=settings["lora_alpha"], lora_targets=targets
        )
        tuning.prepare(model, config)
        for name, record in tuning.lora_layers(model).items():
            if record.layer.lora_enabled:
                for part, variable in (("A", record.layer.lora_kernel_a), ("B", record.layer.lora_kernel_b)):
                    key = f"{own(name)}.lora_{part}.weight"
                    _assign(variable, tensors, key, source, transposed=True)
    return found


def _own_names(family: Family, architecture: str) -> Callable[[str], str]:
    """A weight's name -> what peft calls it."""
    is_bare = not family.architectures[architecture]
    return lambda name: _PREFIX + (family.bare_name(name) if is_bare else name)


def _meant_otherwise(targets: Mapping[str, str], chosen: Collection[str]) -> str | None:
    """A pattern of modules whose names end like a chosen part's but that were not chosen; peft goes by the ends."""
    ends = [targets[part] for part in chosen]
    others = [end for part, end in targets.items() if part not in chosen and end.endswith(tuple(f".{e}" for e in ends))]
    return "|".join(rf".*{re.escape(end)}" for end in others) or None


def _assign(
    variable: keras.Variable, tensors: dict[str, np.ndarray], name: str, source: str, *, transposed: bool
) -> None:
    if name not in tensors:
        raise InputError(f"{source}: expected {name}. Received an adapter without it, of another model.")
    set_value(variable, tensors[name].T if transposed else tensors[name], f"{source}: {name}")
