"""How a folder of sentence-transformers makes one vector of a text: modules.json and what it names."""

import json
import os
from typing import Literal, NamedTuple

from bert_tf.core import config_io, whole_file
from bert_tf.core.errors import InputError

MODULES, POOLING, SETTINGS = "modules.json", "1_Pooling", "sentence_bert_config.json"
NAMES = (MODULES, POOLING, "2_Normalize", SETTINGS)
_KIND = "sentence_transformers.models."


class Pooling(NamedTuple):
    """How a vector is made of a text's tokens: their mean or [CLS]'s output, and whether it gets the length 1."""

    pooling: Literal["mean", "cls"]
    normalize: bool


def read(path: str) -> tuple[Pooling, int | None] | None:
    """(pooling and normalization, most tokens of a text) of a folder; None if it is not theirs.

    Raises:
      InputError: a pooling that is not offered here.
    """
    modules_path = os.path.join(path, MODULES)
    if not os.path.isfile(modules_path):
        return None
    try:
        with open(modules_path, encoding="utf-8") as file:
            modules = json.load(file)
    except ValueError as error:
        raise InputError(f"{modules_path}: expected JSON. Received: {error}.") from None
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise InputError(f"{modules_path}: expected a list of modules. Received: {type(modules).__name__}.")
    kinds = {str(module.get("type", "")).rsplit(".", 1)[-1]: module.get("path", "") for module in modules}
    other = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if other or "Pooling" not in kinds:
        raise InputError(f"{modules_path}: expected Transformer, Pooling and perhaps Normalize. Received: {other}.")
    place = os.path.join(path, kinds["Pooling"], "config.json")
    pooling = config_io.read_json(place)
    modes = sorted(name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True)
    known: dict[str, Literal["mean", "cls"]] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise InputError(f"{place}: expected one of {', '.join(known)}. Received: {', '.join(modes) or 'none'}.")
    settings_path = os.path.join(path, SETTINGS)
    settings = config_io.read_json(settings_path) if os.path.isfile(settings_path) else {}
    return Pooling(known[modes[0]], "Normalize" in kinds), settings.get("max_seq_length")


def write(path: str, head: Pooling, *, hidden_size: int, max_seq_length: int) -> None:
    """Writes what `read` reads, and SentenceTransformer(path) opens, beside the model's own files."""
    kinds = [("", "Transformer"), (POOLING, "Pooling"), *([("2_Normalize", "Normalize")] if head.normalize else [])]
    modules = [
        {"idx": index, "name": str(index), "path": folder, "type": _KIND + kind}
        for index, (folder, kind) in enumerate(kinds)
    ]
    pooling = {
        "word_embedding_dimension": hidden_size,
        "pooling_mode_cls_token": head.pooling == "cls",
        "pooling_mode_mean_tokens": head.pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    for folder, _ in kinds[1:]:
        os.makedirs(os.path.join(path, folder), exist_ok=True)
    settings = {"max_seq_length": max_seq_length, "do_lower_case": False}
    for name, value in ((MODULES, modules), (f"{POOLING}/config.json", pooling), (SETTINGS, settings)):
        whole_file.write_json(os.path.join(path, name), value)
