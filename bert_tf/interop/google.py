"""Google's TF1 checkpoints (bert_config.json, bert_model.ckpt.*, vocab.txt) -> weights of a model."""

import glob
import os
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bert_tf.core import config_io
from bert_tf.core.errors import InputError, reason_of
from bert_tf.interop.weights import LoadReport, assign
from bert_tf.models.bert.config import BertConfig
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary

CONFIG = "bert_config.json"
# A variable of a head -> transformers' class with this head. The first one that a checkpoint has is the trained head.
_HEADS = {
    "cls/squad/output_weights": "BertForQuestionAnswering",
    "output_weights": "BertForSequenceClassification",
    "cls/seq_relationship/output_weights": "BertForPreTraining",
    "cls/predictions/output_bias": "BertForMaskedLM",
    "bert/embeddings/word_embeddings": "BertModel",
}
_OPTIMIZER = re.compile(r"/adam_[mv]$|^global_step$")


def is_checkpoint(path: str) -> bool:
    """Whether a folder holds a checkpoint in Google's layout."""
    has_other = os.path.isfile(os.path.join(path, "model.safetensors"))  # a folder that was converted where it lies
    return os.path.isfile(os.path.join(path, CONFIG)) and not has_other


def read_config(path: str) -> tuple[BertConfig, Vocabulary, TokenizerConfig]:
    """(network, vocabulary, tokenizer) of a folder. A vocabulary without upper-case letters makes the model uncased."""
    settings = config_io.read_json(os.path.join(path, CONFIG))
    fields = config_io.field_names(BertConfig)
    values = {name: value for name, value in settings.items() if name in fields}
    # google-research/bert computes "gelu" in the tanh form.
    values["hidden_act"] = "gelu_new" if settings.get("hidden_act", "gelu") == "gelu" else settings["hidden_act"]
    vocabulary = Vocabulary.load(os.path.join(path, "vocab.txt"))
    lower_case = not any(t != t.lower() for t in vocabulary.tokens if not re.fullmatch(r"\[.*\]", t))
    config = config_io.from_dict(BertConfig, values, os.path.join(path, CONFIG))
    config_io.check_types(config, os.path.join(path, CONFIG))
    return config, vocabulary, TokenizerConfig(lower_case=lower_case)


def load_weights(path: str, model: keras.Model, fresh: Sequence[str] = ()) -> LoadReport:
    """Sets every weight of `model` that the checkpoint holds, but for those that `fresh` names.

    Raises:
      InputError: no checkpoint, or a weight of another shape.
    """
    reader, held = _opened(path)
    present = held - set(map(google_name, fresh))

    def read(name: str, transposed: bool) -> np.ndarray:
        value = reader.get_tensor(name)
        # Kernels are [in, out] like ours; only the small classifiers are stored as [out, in].
        return value.T if name.endswith("output_weights") else value

    return assign(model, present=present, rename=google_name, read=read, source=path)


def head_of(path: str) -> dict[str, Any]:
    """What the variables say of a checkpoint's head: the family's architecture, and labels without a name.

    A classifier of run_classifier.py and a tagger made from it have the same variables: it is taken for a classifier.

    Raises:
      InputError: no checkpoint.
    """
    reader, held = _opened(path)
    variable = next((name for name in _HEADS if name in held), "bert/embeddings/word_embeddings")
    architecture = _HEADS[variable]
    if variable != "output_weights":
        return {"architecture": architecture, "labels": None}
    count = reader.get_variable_to_shape_map()[variable][0]
    return {"architecture": architecture, "labels": [f"LABEL_{number}" for number in range(count)]}


def has_pooler(path: str) -> bool:
    """Whether a checkpoint holds a pooler, whatever its head."""
    return "bert/pooler/dense/kernel" in _opened(path)[1]


def _opened(path: str) -> tuple[Any, set[str]]:
    """The checkpoint of a folder, and names of its weights.

    Raises:
      InputError: no checkpoint, or none that can be read.
    """
    # Released folders hold bert_model.ckpt; those of a training run name the step, and a file "checkpoint" the latest.
    found = [name.removesuffix(".index") for name in glob.glob(os.path.join(glob.escape(path), "*.ckpt*.index"))]
    if not found:
        raise InputError(
            f"{path}: expected bert_model.ckpt.index beside {CONFIG}. Received a folder without a checkpoint."
        )
    released = os.path.join(path, "bert_model.ckpt")
    chosen = released if released in found else max(found, key=_step)
    try:
        reader = tf.train.load_checkpoint(chosen)
    except (tf.errors.OpError, IndexError, ValueError) as error:
        raise InputError(f"{chosen}: expected a whole TF1 checkpoint. Received: {reason_of(error)}.") from None
    return reader, {name for name in reader.get_variable_to_shape_map() if not _OPTIMIZER.search(name)}


def _step(checkpoint: str) -> int:
    """The step in model.ckpt-10000, 0 without one."""
    number = re.search(r"-(\d+)$", checkpoint)
    return int(number.group(1)) if number else 0


def google_name(name: str) -> str:
    """`bert.encoder.layer.0.output.dense.weight` -> `bert/encoder/layer_0/output/dense/kernel`."""
    special = {
        "cls.predictions.bias": "cls/predictions/output_bias",
        "cls.seq_relationship.weight": "cls/seq_relationship/output_weights",
        "cls.seq_relationship.bias": "cls/seq_relationship/output_bias",
        "classifier.weight": "output_weights",
        "classifier.bias": "output_bias",
        "qa_outputs.weight": "cls/squad/output_weights",
        "qa_outputs.bias": "cls/squad/output_bias",
    }
    if name in special:
        return special[name]
    name = re.sub(r"layer\.(\d+)", r"layer_\1", name)
    name = re.sub(r"embeddings\.weight$", "embeddings", name)
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    return re.sub(r"\.weight$", ".kernel", name).replace(".", "/")
