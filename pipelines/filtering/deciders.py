"""--filter: a classifier that bert_tf.export wrote, or a function, decides which documents stay; many at a time."""

import dataclasses
import hashlib
import importlib
import os
import re
from collections.abc import Callable, Sequence

import numpy as np

from bert_tf.core.errors import InputError

_CLASSIFIER = re.compile(r"(?P<model>.+):(?P<label>[^:]+?)(?P<rule>>=|<)(?P<threshold>[0-9.eE+-]+)", re.DOTALL)
_FUNCTION = re.compile(r"(?P<module>[\w.]+):(?P<function>\w+)")
_TEXTS_AT_ONCE = 64  # of every call, so that a score does not depend on how a runner bundles documents
_DIGITS = 4  # of probabilities: the last bits differ between processors

Decide = Callable[[Sequence[str]], Sequence[bool]]


@dataclasses.dataclass(frozen=True)
class Decider:
    """A filter as the command line names it, and a hash of what decides.

    Attributes:
      text: MODEL:LABEL>=SHARE, MODEL:LABEL<SHARE, or module:function.
      sha256: of the model's files; "" for a function, of which only the name is known.
    """

    text: str
    sha256: str = ""


def parse(text: str) -> Decider:
    """Checks a value of --filter.

    Raises:
      InputError: neither form, a model without the label, or a function that cannot be imported.
    """
    if found := _CLASSIFIER.fullmatch(text):
        _share(text, found["threshold"])
        folder = found["model"]
        if not os.path.isfile(os.path.join(folder, "saved_model.pb")):
            raise InputError(f"--filter {text}: expected a SavedModel of bert_tf.export. Received none.")
        load(Decider(text))([""])  # the label is there, and the model answers
        return Decider(text, _digest(folder))
    if _FUNCTION.fullmatch(text):
        load(Decider(text))
        return Decider(text)
    raise InputError(f"--filter {text}: expected MODEL:LABEL>=SHARE, MODEL:LABEL<SHARE or module:function.")


def load(decider: Decider) -> Decide:
    """What decides: texts -> whether each stays."""
    if found := _CLASSIFIER.fullmatch(decider.text):
        threshold = _share(decider.text, found["threshold"])
        scores = _scores_of(decider.text, found["model"], found["label"])
        if found["rule"] == ">=":
            return lambda texts: (scores(texts) >= threshold).tolist()
        return lambda texts: (scores(texts) < threshold).tolist()
    module, _, name = decider.text.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"--filter {decider.text}: expected a function to import. Received: {error}.") from None
    return lambda texts: _checked(decider.text, texts, function(list(texts)))


def _checked(text: str, texts: Sequence[str], answers: Sequence[bool]) -> Sequence[bool]:
    answers = list(answers)
    if len(answers) != len(texts) or not all(isinstance(answer, bool | np.bool_) for answer in answers):
        raise InputError(
            f"--filter {text}: expected True or False for each of {len(texts)} texts. Received {len(answers)}: "
            f"{answers!r:.60}."
        )
    return answers


def _share(text: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"--filter {text}: expected a share from 0 to 1. Received: {number}.")
    return value


def _scores_of(text: str, folder: str, label: str) -> Callable[[Sequence[str]], np.ndarray]:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the ops of the model

    model = tf.saved_model.load(folder)
    signature = model.signatures["serving_default"]
    if "probabilities" not in signature.structured_outputs or "labels" not in signature.structured_outputs:
        outputs = ", ".join(sorted(signature.structured_outputs))
        raise InputError(f"--filter {text}: expected a classifier of texts. Received a model that gives {outputs}.")

    def scores(texts: Sequence[str]) -> np.ndarray:
        found = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = [one.encode("utf-8", "replace") for one in texts[start : start + _TEXTS_AT_ONCE]]
            filled = some + [b""] * (_TEXTS_AT_ONCE - len(some))
            answers = model.signatures["serving_default"](text=tf.constant(filled))
            labels = [name.decode() for name in answers["labels"].numpy()[0]]
            if label not in labels:
                raise InputError(f"--filter {text}: expected one of the labels {', '.join(labels)}. Received: {label}.")
            found.append(answers["probabilities"].numpy()[: len(some), labels.index(label)])
        return np.round(np.concatenate(found).astype(np.float64), _DIGITS)

    return scores


def _digest(folder: str) -> str:
    """A hash of the files of a SavedModel that decide: graph and variables."""
    digest = hashlib.sha256()
    names = ["saved_model.pb", *(f"variables/{name}" for name in sorted(os.listdir(os.path.join(folder, "variables"))))]
    for name in names:
        digest.update(name.encode())
        with open(os.path.join(folder, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()
