"""Loading, overriding, saving and comparing configs. Standard library only."""

import ast
import dataclasses
import json
import math
import os
import re
import runpy
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from bert_tf.core import whole_file
from bert_tf.core.errors import InputError
from bert_tf.core.section import FROM_DATA

# Neither the batches nor what is learned from them depend on these, but for rounding and what dropout draws.
FREE_ON_RESUME = frozenset(
    f"train.{name}"
    for name in (
        *(
            "engine",
            "strategy",
            "microbatches",
            "xla",
            "steps_per_loop",
            "log_every",
            "checkpoint_every",
            "keep_checkpoints",
        ),
        *("on_nonfinite", "rewind_checkpoints", "profile_steps", "mirror", "rematerialize"),
    )
)
# Where a config says epochs, a run keeps what follows from them, and the same config says something else at first.
FOLLOW_FROM_EPOCHS = frozenset(
    ("train.steps", "train.evaluate_every", "train.checkpoint_every", "optimizer.warmup_steps")
)
# A run may go on for longer than it was begun for.
_MAY_GROW = ("epochs", "train.steps")
_MISSING = dataclasses.MISSING
_NONE_WORDS = ("none", "null")
_BOOLEAN_WORDS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


def load(path: str, overrides: Sequence[str], config_class: type | types.UnionType):
    """Runs a config file, calls its get_config(), which must give a config_class, and applies `section.field=value`.

    Raises:
      InputError: the file or its get_config is missing, or an override does not fit.
    """
    if not os.path.isfile(path):
        raise InputError(f"--config {path}: expected a Python file with get_config(). Received: no such file.")
    try:
        get_config = runpy.run_path(path).get("get_config")
        config = get_config() if callable(get_config) else None
    except InputError:
        raise
    except Exception as error:  # whatever the user's file raises
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"--config {path}: expected a config that loads. Received {reason}.") from None
    if config is None:
        raise InputError(f"--config {path}: expected a function get_config(). Received a file without one.")
    if not isinstance(config, config_class):
        raise InputError(
            f"--config {path}: expected get_config() to return a {getattr(config_class, '__name__', config_class)}. "
            f"Received: {type(config).__name__}."
        )
    check_types(config, f"--config {path}")
    config = override(config, overrides)
    for assignment in overrides:
        # How often is saved at least follows from epochs; it may be more often.
        follows = assignment.partition("=")[0] in FOLLOW_FROM_EPOCHS - {"train.checkpoint_every"}
        if follows and getattr(config, "epochs", None) is not None:
            raise InputError(
                f"--set {assignment}: epochs={config.epochs:g} determines this field. Add --set epochs=none to set it."
            )
    return config


def check_types(config, source: str, prefix: str = "") -> None:
    """Refuses a field whose value is not what its type hint says: dataclasses themselves check nothing.

    Raises:
      InputError: naming the field.
    """
    for name, hint in _hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value) and _is_instance(value, hint):
            check_types(value, source, f"{prefix}{name}.")
        elif not _is_instance(value, hint):
            expected = str(hint) if typing.get_origin(hint) else hint.__name__
            expected = expected.replace("typing.", "")
            raise InputError(f"{source}: {prefix}{name}: expected {expected}. Received: {value!r}.")


def field_names(config_class) -> set[str]:
    """Names of a config's fields."""
    return {field.name for field in dataclasses.fields(config_class)}


def _hints(config_class) -> dict:
    """{name: type} of a dataclass's fields, without its class variables."""
    hints = typing.get_type_hints(config_class)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_class)}


def _is_instance(value, hint) -> bool:
    if _is_optional(hint):
        return value is None or any(_is_instance(value, a) for a in typing.get_args(hint) if a is not type(None))
    if typing.get_origin(hint) is types.UnionType:
        return any(_is_instance(value, kind) for kind in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        hints = [items[0]] * len(value) if isinstance(value, tuple) and items[-1] is Ellipsis else items
        return isinstance(value, tuple) and len(value) == len(hints) and all(map(_is_instance, value, hints))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def override(config, assignments: Sequence[str]):
    """Returns `config` with every `section.field=value` applied, checked once all are in place."""
    tree: dict = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise InputError(f"--set {assignment}: expected section.field=value. Received no '='.")
        branch, owner, names = tree, config, path.split(".")
        for depth, name in enumerate(names):
            here = ".".join(names[: depth + 1])
            if not dataclasses.is_dataclass(owner):
                raise InputError(f"--set {path}: {'.'.join(names[:depth])} is a value, it has no field {name!r}.")
            hints = _hints(type(owner))
            if name not in hints:
                place = ".".join(names[:depth]) or "the config"
                raise InputError(
                    f"--set {path}: {place} has no field {name!r}. Expected one of: {', '.join(hints) or 'none'}."
                )
            # A section's fields are those of what it holds: each family and task has its own.
            hint, owner = hints[name], getattr(owner, name)
            if depth < len(names) - 1:
                branch = branch.setdefault(name, {})
            elif dataclasses.is_dataclass(owner):
                fields = ", ".join(field.name for field in dataclasses.fields(owner))
                raise InputError(f"--set {path}: {here} is a section. Expected one of its fields: {fields}.")
            else:
                branch[name] = _parse(text, hint, path)
    return _replace(config, tree)


def save(config, path: str) -> None:
    """Writes the config as JSON.

    Raises:
      StorageError: it cannot be written.
    """
    whole_file.write_json(path, dataclasses.asdict(config))


def restore(config_class, path: str, sections: dict[str, type] | None = None):
    """Reads what `save` wrote; for `sections` see from_dict."""
    config = from_dict(config_class, read_json(path), path, sections)
    check_types(config, path)
    return config


def read_json(path: str) -> dict:
    """A JSON file that holds an object.

    Raises:
      InputError: it is not there, or holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        raise InputError(f"{path}: expected a JSON file. Received: {error.strerror}.") from None
    except ValueError as error:
        raise InputError(f"{path}: expected JSON. Received: {error}.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object. Received: {type(value).__name__}.")
    return value


def from_dict(config_class, values: dict, source: str, sections: dict[str, type] | None = None):
    """Builds a config from nested dicts; unknown names are refused.

    Args:
      config_class: of the config.
      values: of its fields.
      source: names them in errors.
      sections: {field: class} of sections that differ by family or task.
    """
    if not isinstance(values, dict):
        raise InputError(f"{source}: expected an object. Received: {values!r}.")
    hints = _hints(config_class) | (sections or {})
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError(
            f"{source}: unknown field {unknown[0]!r} of {config_class.__name__}. Expected: {', '.join(hints)}."
        )
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(hints[name], value, f"{source}: {name}")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    try:
        return config_class(**arguments)
    except TypeError as error:  # a field without a default is missing, or a cross-check met another type
        raise InputError(f"{source}: expected the fields of {config_class.__name__}. Received: {error}.") from None


def settle(config, workdir: str) -> None:
    """Saves the config into the workdir; what a resumed run may change is changed there. Call check_settled before."""
    path = os.path.join(workdir, "config.json")
    try:
        os.makedirs(workdir, exist_ok=True)
        if not os.path.exists(path) or read_json(path) != json.loads(json.dumps(dataclasses.asdict(config))):
            save(config, path)
    except OSError as error:
        raise InputError(
            f"--workdir {workdir}: expected a folder that can be written. Received: {error.strerror}."
        ) from None


def check_settled(config, workdir: str) -> None:
    """Checks that the run which lives in a workdir, if any, has this config, but for what a resumed run may change.

    Raises:
      InputError: the workdir belongs to a run with another config; the differing fields are named. Or it is not on
        this machine's file system.
    """
    if "://" in workdir:
        raise InputError(
            f"--workdir {workdir}: expected a folder of this machine or one mounted into it. Received a URL."
        )
    path = os.path.join(workdir, "config.json")
    if os.path.exists(path):
        check_same(config, path, f"--workdir {workdir}")


def as_begun(config, workdir: str):
    """The config of a run that goes on: what it leaves to the data is what the run began with."""
    path = os.path.join(workdir, "config.json")
    return _filled(config, read_json(path)) if os.path.exists(path) else config


def _filled(config, there: dict):
    changes = {}
    for field in dataclasses.fields(config):
        value, saved = getattr(config, field.name), there.get(field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _filled(value, saved or {})
        elif value is None and field.metadata.get(FROM_DATA):
            changes[field.name] = saved
    return dataclasses.replace(config, **changes)


def check_same(config, path: str, place: str) -> None:
    """Checks that a run's config.json is this config, but for what a resumed run may change.

    Args:
      config: of the run that is to go on.
      path: of the file.
      place: whose it is, for the error.

    Raises:
      InputError: fields differ; they are named.
    """
    changes = differences(read_json(path), config)
    if changes:
        raise InputError(
            f"{place}: a run with another config lives there, differing in {', '.join(changes)}. "
            "Take another folder, or give the same config to resume."
        )


def differences(there: dict, config) -> list[str]:
    """What a saved config and this one differ in beside what a resumed run may change: a few words a field.

    A field that an older version did not have counts as its default; a field that this version has no more is left out.
    """
    free = FREE_ON_RESUME if getattr(config, "epochs", None) is None else FREE_ON_RESUME | FOLLOW_FROM_EPOCHS
    return [
        f"{name} (there {saved!r}, now {now!r})"
        for name, saved, now in _compared(there, config)
        if name not in free and not _grows(name, saved, now)
    ]


def grows(there: dict, config) -> bool:
    """Whether this config has more epochs or steps than a saved one."""
    return any(_grows(*found) for found in _compared(there, config))


def _grows(name: str, saved: Any, now: Any) -> bool:
    return name in _MAY_GROW and None not in (saved, now) and now > saved


def _compared(there: dict, config, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(name, value there, value now) of fields that differ."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _compared(there.get(field.name) or {}, value, f"{prefix}{field.name}.")
            continue
        now = json.loads(json.dumps(value))
        saved = there.get(field.name, json.loads(json.dumps(None if field.default is _MISSING else field.default)))
        left_to_data = now is None and field.metadata.get(FROM_DATA)
        if saved != now and not left_to_data:
            yield prefix + field.name, saved, now


def _replace(config, tree: dict):
    """Nested dataclasses.replace, innermost first, so that each __post_init__ sees all changes of its section."""
    changes = {
        name: _replace(getattr(config, name), value) if isinstance(value, dict) else value
        for name, value in tree.items()
    }
    return dataclasses.replace(config, **changes)


def _is_optional(hint) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union) and type(None) in typing.get_args(hint)


def _parse(text: str, hint, path: str):
    """Reads a command line's text as the field's type."""
    if _is_optional(hint):
        if text.lower() in _NONE_WORDS:
            return None
        return _parse(text, next(a for a in typing.get_args(hint) if a is not type(None)), path)
    if hint == int | str:
        return int(text) if re.fullmatch("-?[0-9]+", text) else text
    if hint == str | tuple[str, ...]:
        return _parse_tuple(text, (str, ...), path) if "," in text else text
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if text not in choices:
            raise InputError(f"--set {path}: expected one of {', '.join(choices)}. Received: {text!r}.")
        return text
    if typing.get_origin(hint) is tuple:
        return _parse_tuple(text, typing.get_args(hint), path)
    if hint is bool:
        if text.lower() not in _BOOLEAN_WORDS:
            raise InputError(f"--set {path}: expected true or false. Received: {text!r}.")
        return _BOOLEAN_WORDS[text.lower()]
    if hint in (int, float):
        try:
            number = ast.literal_eval(text.strip())
            if isinstance(number, bool) or not isinstance(number, int | float) or hint(number) != number:
                raise ValueError
            if not math.isfinite(number):
                raise ValueError
            return hint(number)
        except (ValueError, SyntaxError, OverflowError):
            expected = "a whole number" if hint is int else "a number"
            raise InputError(f"--set {path}: expected {expected}. Received: {text!r}.") from None
    return text


def _parse_tuple(text: str, item_hints: tuple, path: str) -> tuple:
    inner = text.strip().removeprefix("(").removesuffix(")").strip()
    items = [item.strip() for item in inner.split(",") if item.strip()]
    if item_hints[-1] is Ellipsis:
        item_hints = (item_hints[0],) * len(items)
    if len(items) != len(item_hints):
        raise InputError(f"--set {path}: expected {len(item_hints)} values. Received {len(items)}: {text!r}.")
    return tuple(_parse(item, hint, path) for item, hint in zip(items, item_hints, strict=True))
