"""Added tokens of a Hugging Face folder: four files say which there are, and transformers' order gives their ids.

Newer folders list them in tokenizer.json and in tokenizer_config.json (`added_tokens_decoder`), older ones in
added_tokens.json and special_tokens_map.json; special tokens of any name are added tokens too.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bert_tf.core import config_io
from bert_tf.core.errors import InputError
from bert_tf.text.tokenizer_files import CONFIG, FAST, SPECIAL_NAMES, TokenizerFiles
from bert_tf.text.vocabulary import SPECIAL_TOKENS, AddedToken, Vocabulary

ADDED, SPECIAL = "added_tokens.json", "special_tokens_map.json"
_FLAGS = {field.name for field in dataclasses.fields(AddedToken)} - {"content"}
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_OTHER_NAMES = ("bos_token", "eos_token")  # which BERT does not use; where they are named they are tokens


class _Found(NamedTuple):
    """An added token and what a file says of it."""

    token: AddedToken
    number: int | None  # its id, if the file has one
    place: str
    is_named: bool = False  # as the special token of some name, without its flags where it was added before


def read_vocabulary(files: TokenizerFiles) -> Vocabulary:
    """The vocabulary of a folder with its added tokens.

    Raises:
      InputError: files that contradict one another, ids that transformers would not give, or a token of flags or a
        content that is not supported.
    """
    found: dict[str, _Found] = {}
    for item in (*_of_fast(files), *_of_config(files), *_of_older_files(files), *_of_names(files)):
        content = item.token.content
        before = found.setdefault(content, item)
        if not item.is_named and before.token != item.token:
            raise InputError(
                f"{item.place}: expected the flags of {content!r} that {before.place} has, {_flags(before.token)}. "
                f"Received: {_flags(item.token)}."
            )
    for item in found.values():
        token = item.token
        if token.content in SPECIAL_TOKENS and (token.normalized or token.single_word):
            raise InputError(
                f"{item.place}: {token.content}: expected normalized and single_word to be false. "
                f"Received: {_flags(token)}."
            )
    pieces, source = files.pieces()
    known = set(pieces)
    added = tuple(
        item.token
        for content, item in found.items()
        if content not in SPECIAL_TOKENS or content not in known  # the usual ones are no literals in a text
    )
    whole = Vocabulary(pieces, source, added)
    for content, item in found.items():
        if item.number is not None and whole[content] != item.number:
            raise InputError(
                f"{item.place}: {content!r}: expected the id {whole[content]}, as transformers gives it. "
                f"Received: {item.number}."
            )
    return whole


def decoder_of(vocabulary: Vocabulary) -> dict[str, dict]:
    """`added_tokens_decoder` of tokenizer_config.json; {} without added tokens."""
    return {str(vocabulary[token.content]): dataclasses.asdict(token) for token in vocabulary.added}


def _of_fast(files: TokenizerFiles) -> Iterator[_Found]:
    place = f"{os.path.join(files.folder, FAST)}: added_tokens"
    entries = files.fast.get("added_tokens") or []
    if not isinstance(entries, list):
        raise InputError(f"{place}: expected a list. Received: {entries!r}.")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int):
            raise InputError(f"{place}: expected an id of each token. Received: {entry!r}.")
        rest = {name: value for name, value in entry.items() if name != "id"}
        yield _Found(_token(rest, place, special=False), entry["id"], place)


def _of_config(files: TokenizerFiles) -> Iterator[_Found]:
    place = f"{os.path.join(files.folder, CONFIG)}: added_tokens_decoder"
    entries = files.settings.get("added_tokens_decoder") or {}
    if not isinstance(entries, dict) or not all(key.isdecimal() for key in entries):
        raise InputError(f"{place}: expected {{id: token}}. Received: {entries!r}.")
    for key in sorted(entries, key=int):
        yield _Found(_token(entries[key], place, special=False), int(key), place)


def _of_older_files(files: TokenizerFiles) -> Iterator[_Found]:
    """added_tokens.json, which transformers reads where tokenizer_config.json has no list, for tokens not seen yet."""
    place = os.path.join(files.folder, ADDED)
    if "added_tokens_decoder" in files.settings or not os.path.isfile(place):
        return
    entries = config_io.read_json(place)
    special = {item.token.content for item in _of_names(files)}
    if not all(isinstance(index, int) for index in entries.values()):
        raise InputError(f"{place}: expected {{token: id}}. Received: {entries!r}.")
    for content in sorted(entries, key=entries.__getitem__):
        is_special = content in special
        yield _Found(
            _token({"content": content, "special": is_special}, place, special=is_special),
            entries[content],
            place,
            is_named=True,
        )


def _of_names(files: TokenizerFiles) -> Iterator[_Found]:
    """Special tokens of a name, and those in lists, in tokenizer_config.json and special_tokens_map.json."""
    settings_path, map_path = (os.path.join(files.folder, name) for name in (CONFIG, SPECIAL))
    is_read = os.path.isfile(map_path) and "added_tokens_decoder" not in files.settings  # as transformers does
    named = config_io.read_json(map_path) if is_read else {}
    known = {*SPECIAL_NAMES, *_OTHER_NAMES, *_LISTS}
    if unknown := sorted(set(named) - known):
        raise InputError(f"{map_path}: expected {', '.join(sorted(known))}. Received: {unknown[0]!r}.")
    for path, values in ((settings_path, files.settings), (map_path, named)):
        for name in (*SPECIAL_NAMES, *_OTHER_NAMES):
            value = values.get(name)
            if value is None:
                continue
            token = _token(value, f"{path}: {name}", special=True)
            if token.content != SPECIAL_NAMES.get(name, token.content):
                raise InputError(f"{path}: {name}: expected {SPECIAL_NAMES[name]}. Received: {token.content!r}.")
            yield _Found(token, None, f"{path}: {name}", is_named=True)
        for name in _LISTS:
            listed = values.get(name) or []
            for value in listed.values() if isinstance(listed, dict) else listed:
                yield _Found(_token(value, f"{path}: {name}", special=True), None, f"{path}: {name}", is_named=True)


def _token(value: Any, place: str, *, special: bool) -> AddedToken:
    """A token as a string or an object; special ones are not normalized unless they say so."""
    entry: Mapping[str, Any] = {"content": value} if isinstance(value, str) else value
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
        raise InputError(f"{place}: expected a token. Received: {value!r}.")
    flags = {name: flag for name, flag in entry.items() if name not in ("content", "__type", "id")}
    unknown = sorted(set(flags) - _FLAGS)
    if unknown or not all(isinstance(flag, bool) for flag in flags.values()):
        name = unknown[0] if unknown else next(n for n, flag in flags.items() if not isinstance(flag, bool))
        raise InputError(
            f"{place}: {entry['content']!r}: expected the flags {', '.join(sorted(_FLAGS))}, true or false. "
            f"Received: {name}: {flags[name]!r}."
        )
    if special:
        flags["special"] = True
    return AddedToken(**{"content": entry["content"], "normalized": not flags.get("special", False), **flags})


def _flags(token: AddedToken) -> str:
    return ", ".join(sorted(name for name in _FLAGS if getattr(token, name))) or "none"
