"""The model directory in Hugging Face's layout: config.json, model.safetensors, vocab.txt, tokenizer_config.json.

Theirs and ours hold the same numbers; a Dense kernel of ours, [in, out], is the transpose of their Linear weight.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bert_tf import config_io
from bert_tf.config import BertConfig
from bert_tf.errors import InputError
from bert_tf.interop.weights import LoadReport, assign, weight_names
from bert_tf.vocabulary import Vocabulary

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_VOCABULARY = "vocab.txt"
_FAST_TOKENIZER = "tokenizer.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelDirectory:
    """What a model directory says besides its weights.

    max_seq_length: tokens that a text is cut to, special tokens included.
    settings: config.json as it stands, with architectures and label names.
    """

    path: str
    config: BertConfig
    vocabulary: Vocabulary
    lower_case: bool
    max_seq_length: int
    settings: dict

    @property
    def architecture(self) -> str:
        names = self.settings.get("architectures") or ["BertModel"]
        return names if isinstance(names, str) else names[0]

    @property
    def labels(self) -> list[str]:
        """Names of the classes by id, empty for a model without classes."""
        names = self.settings.get("id2label") or {}
        try:
            return [names[key] for key in sorted(names, key=int)]
        except (TypeError, ValueError):
            place = os.path.join(self.path, CONFIG)
            raise InputError(f"{place}: id2label: expected {{id: label}}. Received: {names!r}.") from None


def open_directory(path: str, field: str) -> ModelDirectory:
    """Reads everything but the weights; `field` names the flag or config field in errors.

    Raises:
      InputError: a file is missing or is not what it should be.
    """
    has_fast_tokenizer = os.path.isfile(os.path.join(path, _FAST_TOKENIZER))
    for name in (CONFIG, WEIGHTS, _VOCABULARY):
        if not os.path.isfile(os.path.join(path, name)) and not (name == _VOCABULARY and has_fast_tokenizer):
            raise InputError(
                f"{field} {path}: expected a model directory with {CONFIG}, {WEIGHTS} and {_VOCABULARY}. "
                f"Received one without {name}."
            )
    settings = config_io.read_json(os.path.join(path, CONFIG))
    if settings.get("model_type", "bert") != "bert":
        raise InputError(f"{field} {path}: expected model_type 'bert'. Received: {settings['model_type']!r}.")
    fields = {f.name for f in dataclasses.fields(BertConfig)}
    activation = settings.get("hidden_act", "gelu")
    settings_config = {name: value for name, value in settings.items() if name in fields}
    settings_config["hidden_act"] = "gelu_new" if activation == "gelu_pytorch_tanh" else activation
    if settings_config["hidden_act"] not in ("gelu", "gelu_new"):
        raise InputError(f"{field} {path}: expected hidden_act gelu or gelu_new. Received: {activation!r}.")
    vocabulary = _read_vocabulary(path)
    if settings.get("position_embedding_type", "absolute") != "absolute":
        kind = settings["position_embedding_type"]
        raise InputError(f"{field} {path}: expected position_embedding_type absolute. Received: {kind!r}.")
    config = config_io.from_dict(BertConfig, settings_config, os.path.join(path, CONFIG))
    config_io.check_types(config, os.path.join(path, CONFIG))
    if len(vocabulary) > config.vocab_size:
        raise InputError(
            f"{field} {path}: expected a vocabulary of at most vocab_size = {config.vocab_size} tokens. "
            f"Received {len(vocabulary)} in {_VOCABULARY}."
        )
    tokenizer_path = os.path.join(path, _TOKENIZER_CONFIG)
    tokenizer = config_io.read_json(tokenizer_path) if os.path.isfile(tokenizer_path) else {}
    lower_case = bool(tokenizer.get("do_lower_case", True))
    # Other ids than the model was trained with would be made in silence.
    if tokenizer.get("tokenize_chinese_chars") is False or tokenizer.get("strip_accents") not in (None, lower_case):
        raise InputError(
            f"{tokenizer_path}: expected tokenize_chinese_chars = true and strip_accents = null or as do_lower_case. "
            f"Received {tokenizer.get('tokenize_chinese_chars')} and {tokenizer.get('strip_accents')}."
        )
    return ModelDirectory(
        path=path,
        config=config,
        vocabulary=vocabulary,
        lower_case=lower_case,
        # Released tokenizers say 1e30 where they know no limit.
        max_seq_length=int(min(tokenizer.get("model_max_length") or 1e30, config.max_position_embeddings)),
        settings=settings,
    )


def _read_vocabulary(path: str) -> Vocabulary:
    """vocab.txt, or the vocabulary in tokenizer.json, which is all that transformers 5 writes."""
    if os.path.isfile(os.path.join(path, _VOCABULARY)):
        return Vocabulary.load(os.path.join(path, _VOCABULARY))
    source = os.path.join(path, _FAST_TOKENIZER)
    model = config_io.read_json(source).get("model")
    if not isinstance(model, dict) or model.get("type") != "WordPiece" or not isinstance(model.get("vocab"), dict):
        raise InputError(f"{source}: expected a WordPiece model with its vocabulary. Received another tokenizer.")
    ids = model["vocab"]
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(f"{source}: expected the ids 0 to {len(ids) - 1}, each once. Received others.")
    return Vocabulary(tuple(sorted(ids, key=ids.get)), source)


def save(
    path: str,
    model: keras.Model,
    *,
    architecture: str,
    vocabulary: Vocabulary,
    lower_case: bool,
    max_seq_length: int,
    labels: list[str] | None = None,
) -> None:
    """Writes a model directory under a temporary name and renames it, replacing an older one (see check_output).

    Args:
      path: folder to write.
      model: a model with `.config` and `.encoder`.
      architecture: the class of `transformers` that opens it, such as BertForPreTraining.
      vocabulary: of the weights.
      lower_case: tokenizer setting.
      max_seq_length: length that the model was trained with, kept as tokenizer setting.
      labels: class names by id.
    """
    check_output(path, "output")
    parent, name = os.path.split(os.path.abspath(path))
    try:
        os.makedirs(parent, exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
    except OSError as error:
        raise InputError(f"{path}: expected a place that can be written. Received: {error.strerror}.") from None
    os.chmod(temporary, 0o755)
    replaced = f"{temporary}.old"
    tensors = {name: np.ascontiguousarray(value) for name, value in _named_arrays(model)}
    save_file(tensors, os.path.join(temporary, WEIGHTS), metadata={"format": "pt"})
    settings = {
        "architectures": [architecture],
        "model_type": "bert",
        **dataclasses.asdict(model.config),
        "pad_token_id": vocabulary["[PAD]"],
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    }
    if labels is not None:
        settings["id2label"] = {str(index): label for index, label in enumerate(labels)}
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
    _write_json(os.path.join(temporary, CONFIG), settings)
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": lower_case,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": max_seq_length,
        **{f"{token.strip('[]').lower()}_token": token for token in ("[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")},
    }
    _write_json(os.path.join(temporary, _TOKENIZER_CONFIG), tokenizer)
    with open(os.path.join(temporary, _VOCABULARY), "wb") as file:
        file.write(vocabulary.serialize())
    if os.path.isdir(path):
        os.rename(path, replaced)
    os.rename(temporary, path)
    shutil.rmtree(replaced, ignore_errors=True)


def check_output(path: str, field: str) -> None:
    """Refuses to write a model over anything but an older model or an empty folder.

    Raises:
      InputError: `path` is a file or a folder of something else.
    """
    if os.path.isfile(path):
        raise InputError(f"{field} {path}: expected a folder to write a model to. Received a file.")
    names = os.listdir(path) if os.path.isdir(path) else []
    foreign = sorted(set(names) - {CONFIG, WEIGHTS, _TOKENIZER_CONFIG, _VOCABULARY})
    if foreign:
        raise InputError(
            f"{field} {path}: expected no folder, or one of an older model. Received one with {foreign[0]}."
        )


def load_weights(directory: str, model: keras.Model) -> LoadReport:
    """Sets every weight of `model` that the directory holds.

    Raises:
      InputError: no weight of the encoder is there, or one has another shape.
    """
    path = os.path.join(directory, WEIGHTS)
    try:
        file = safe_open(path, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: expected weights in safetensors format. Received: {error}.") from None
    with file:
        present = {_canonical(name): name for name in file.keys()}  # noqa: SIM118 - safe_open is no dict
        # The output matrix is the embedding table, and position_ids is a constant.
        for tied in (
            "cls.predictions.decoder.weight",
            "cls.predictions.decoder.bias",
            "bert.embeddings.position_ids",
        ):
            present.pop(tied, None)
        return assign(
            model,
            present=present,
            rename=lambda name: name,
            read=lambda name, transposed: _transposed_if(file.get_tensor(present[name]), transposed),
            source=path,
        )


def load_all_weights(directory: str, model: keras.Model) -> None:
    """Like load_weights, for a model that is to answer and not to be trained: nothing may be left fresh."""
    fresh = load_weights(directory, model).fresh
    if fresh:
        raise InputError(
            f"{os.path.join(directory, WEIGHTS)}: expected all weights. Received none of {', '.join(fresh)}."
        )


def _named_arrays(model: keras.Model) -> Iterator[tuple[str, np.ndarray]]:
    for name, variable, transposed in weight_names(model):
        yield name, _transposed_if(keras.ops.convert_to_numpy(variable), transposed)


def _transposed_if(value: np.ndarray, transposed: bool) -> np.ndarray:
    return value.T if transposed else value


def _canonical(name: str) -> str:
    """Encoders are saved with and without the prefix "bert.", old files call LayerNorm's weights gamma and beta."""
    if name.startswith(("embeddings.", "encoder.", "pooler.")):
        name = "bert." + name
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _write_json(path: str, value: dict) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")
