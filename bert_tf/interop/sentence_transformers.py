"""Reads and writes how a sentence-transformers folder pools a text to one vector: modules.json and the files it names.

A field of these files that would change the vectors in a way that is not supported is refused by name.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from bert_tf.core import config_io, whole_file
from bert_tf.core.errors import InputError

MODULES, POOLING, SETTINGS = "modules.json", "1_Pooling", "sentence_bert_config.json"
PROMPTS = "config_sentence_transformers.json"
NAMES = (MODULES, POOLING, "2_Normalize", SETTINGS, PROMPTS)
_KIND = "sentence_transformers.models."
_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_DIMENSIONS = {"embedding_dimension", "word_embedding_dimension"}
_SIMILARITIES = (None, "cosine", "dot", "euclidean", "manhattan")
_FORWARD = {"method": "forward", "method_output_name": "last_hidden_state"}
# {field of sentence_bert_config.json: supported values}
_SETTINGS: dict[str, tuple] = {
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("token_embeddings",),
    "modality_config": ({"text": _FORWARD}, None),
    **dict.fromkeys(("processing_kwargs", "model_kwargs", "processor_kwargs", "config_kwargs"), ({}, None)),
    **dict.fromkeys(("model_args", "tokenizer_args", "tokenizer_kwargs", "config_args"), ({}, None)),
    **dict.fromkeys(("query_length", "document_length", "query_expansion", "tokenizer_name_or_path"), (None,)),
}


class Pooling(NamedTuple):
    """How a text becomes a vector.

    Attributes:
      pooling: of the tokens' outputs: their mean, or [CLS]'s.
      normalize: whether the vector gets the length 1.
      prompt: stands before every text.
      prompts: (name, prompt) of those that a caller of sentence-transformers may ask for.
      similarity: what compares two vectors there; None for its default, the cosine.
    """

    pooling: Literal["mean", "cls"]
    normalize: bool
    prompt: str = ""
    prompts: tuple[tuple[str, str], ...] = ()
    similarity: str | None = None

    def head_settings(self) -> dict[str, Any]:
        """The same as fields of an embedding's config."""
        return {"pooling": self.pooling, "normalize": self.normalize, "prompt": self.prompt}


def read(path: str, *, lower_case: bool = True) -> tuple[Pooling, int | None] | None:
    """(how vectors are made, most tokens of a text) of a folder; None if it is not theirs.

    Args:
      path: the folder.
      lower_case: whether the tokenizer lower-cases, so that do_lower_case changes nothing.

    Raises:
      InputError: a field that asks for other vectors than are made here.
    """
    place = os.path.join(path, MODULES)
    if not os.path.isfile(place):
        return None
    modules = _modules(place)
    prompt, prompts, similarity = _prompts(path)
    mode = _mode(os.path.join(path, modules["Pooling"], "config.json"), has_prompt=bool(prompt))
    longest = _longest(os.path.join(path, SETTINGS), lower_case=lower_case)
    return Pooling(mode, "Normalize" in modules, prompt, prompts, similarity), longest


def _modules(place: str) -> dict[str, str]:
    """{kind of module: its folder}, whatever the package calls the class."""
    try:
        with open(place, encoding="utf-8") as file:
            modules = json.load(file)
    except ValueError as error:
        raise InputError(f"{place}: expected JSON. Received: {error}.") from None
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise InputError(f"{place}: expected a list of modules. Received: {type(modules).__name__}.")
    types = [str(module.get("type")) for module in modules]
    kinds = [name.rsplit(".", 1)[-1] for name in types]
    foreign = [name for name in types if not name.startswith("sentence_transformers.")]
    if foreign or kinds not in _MODULES:
        raise InputError(
            f"{place}: expected Transformer, Pooling and perhaps Normalize of sentence_transformers, in this order. "
            f"Received: {', '.join(foreign or kinds) or 'none'}."
        )
    for module in modules:
        _refuse_unknown(place, module, {"idx", "name", "path", "type", "kwargs"})
        _refuse_other(place, module, "kwargs", ([], None))
    folders = {kind: str(module.get("path", "")) for kind, module in zip(kinds, modules, strict=True)}
    if folders["Transformer"]:
        raise InputError(f"{place}: path: expected the model beside it. Received: {folders['Transformer']!r}.")
    return folders


def _mode(place: str, *, has_prompt: bool) -> Literal["mean", "cls"]:
    """The pooling: of one name since sentence-transformers 5.4, of a flag for each before."""
    settings = config_io.read_json(place)
    _refuse_unknown(place, settings, {"pooling_mode", "include_prompt", *_OLD_MODES, *_DIMENSIONS})
    flags = [mode for name, mode in _OLD_MODES.items() if settings.get(name)]
    mode = settings.get("pooling_mode", flags if set(settings) & set(_OLD_MODES) else "mean")
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    if mode not in ("mean", "cls"):
        raise InputError(f"{place}: pooling_mode: expected mean or cls. Received: {mode!r}.")
    if not settings.get("include_prompt", True) and has_prompt:
        raise InputError(f"{place}: include_prompt: expected true, where a prompt is the default. Received: false.")
    return mode


def _prompts(path: str) -> tuple[str, tuple[tuple[str, str], ...], str | None]:
    """The prompt of every text, all prompts by name, and the similarity."""
    place = os.path.join(path, PROMPTS)
    settings = config_io.read_json(place) if os.path.isfile(place) else {}
    known = {"__version__", "model_type", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim"}
    _refuse_unknown(place, settings, known)
    for name, only in (
        ("truncate_dim", (None,)),
        ("model_type", ("SentenceTransformer",)),
        ("similarity_fn_name", _SIMILARITIES),
    ):
        _refuse_other(place, settings, name, only)
    given = settings.get("prompts") or {}
    if not isinstance(given, dict) or not all(isinstance(text, str | None) for text in given.values()):
        raise InputError(f"{place}: prompts: expected {{name: text}}. Received: {given!r}.")
    prompts = {name: text or "" for name, text in given.items()}
    default = settings.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise InputError(f"{place}: default_prompt_name: expected one of {', '.join(prompts)}. Received: {default!r}.")
    found = "" if default is None else prompts[default]
    return found, tuple(prompts.items()), settings.get("similarity_fn_name")


def _longest(place: str, *, lower_case: bool) -> int | None:
    settings = config_io.read_json(place) if os.path.isfile(place) else {}
    _refuse_unknown(place, settings, {*_SETTINGS, "max_seq_length", "do_lower_case", "unpad_inputs", "backend"})
    for name, only in {**_SETTINGS, "do_lower_case": (False, None, *((True,) if lower_case else ()))}.items():
        _refuse_other(place, settings, name, only)
    longest = settings.get("max_seq_length")
    if longest is not None and (type(longest) is not int or longest < 1):
        raise InputError(f"{place}: max_seq_length: expected a number of tokens. Received: {longest!r}.")
    return longest


def _refuse_unknown(place: str, settings: Mapping[str, Any], known: set[str]) -> None:
    for name in sorted(set(settings) - known):
        raise InputError(
            f"{place}: {name}: expected no such field, since this project does not know what it changes. "
            f"Received: {settings[name]!r}."
        )


def _refuse_other(place: str, settings: Mapping[str, Any], name: str, only: tuple) -> None:
    if name in settings and settings[name] not in only:
        raise InputError(f"{place}: {name}: expected {only[0]!r}. Received: {settings[name]!r}.")


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
    files: list[tuple[str, Any]] = [(MODULES, modules), (f"{POOLING}/config.json", pooling), (SETTINGS, settings)]
    if head.prompt or head.prompts or head.similarity:
        prompts = dict(head.prompts)
        names = [name for name, text in prompts.items() if text == head.prompt]
        default = (names or ["default"])[0] if head.prompt else None
        if default is not None:
            prompts[default] = head.prompt
        described = {"prompts": prompts, "default_prompt_name": default, "similarity_fn_name": head.similarity}
        files.append((PROMPTS, described))
    for name, value in files:
        whole_file.write_json(os.path.join(path, name), value)
