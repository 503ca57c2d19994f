"""The model directory in Hugging Face's layout: config.json, model.safetensors, vocab.txt, tokenizer_config.json.

Theirs and ours hold the same numbers under the names that the family's records give them.
"""

import dataclasses
import glob
import os
from collections.abc import Sequence

import keras

from bert_tf.core import card, config_io, whole_file
from bert_tf.core.config import EncoderConfig
from bert_tf.core.errors import InputError
from bert_tf.core.stores import objects
from bert_tf.interop import sentence_transformers, tensor_files
from bert_tf.interop.sentence_transformers import Pooling
from bert_tf.interop.tensor_files import WEIGHTS
from bert_tf.interop.weights import LoadReport, assign, named_arrays
from bert_tf.models.family import FAMILIES, Family, architecture_of, family_of
from bert_tf.text.tokenizer import TextTokenizer, tokenizer_kind
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary

CONFIG = "config.json"
# Behind the model_type: what transformers should refuse rather than open without the adapters.
_WITH_ADAPTERS = "_with_bert_tf_adapters"
_OLD_WITH_ADAPTERS = {"bert_tf_with_adapters": "bert"}  # as version 0.1 wrote it
_OURS = "bert_tf"  # under task_specific_params of config.json


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelDirectory:
    """What a model directory says besides its weights.

    max_seq_length: tokens that a text is cut to, special tokens included.
    settings: config.json as it stands, with architectures and label names.
    """

    path: str
    config: EncoderConfig
    vocabulary: Vocabulary
    tokenizer: TokenizerConfig
    max_seq_length: int
    settings: dict

    @property
    def architecture(self) -> str:
        names = self.settings.get("architectures") or [list(self.family.architectures)[-1]]
        return names if isinstance(names, str) else names[0]

    @property
    def family(self) -> Family:
        return family_of(self.config.model_type)

    @property
    def heads(self) -> tuple[str, ...]:
        """Kinds of the heads whose weights it holds.

        Raises:
          InputError: an architecture that the family does not have.
        """
        known = self.family.architectures
        if self.architecture not in known:
            raise InputError(f"{self.path}: expected one of {', '.join(known)}. Received: {self.architecture}.")
        return known[self.architecture]

    @property
    def labels(self) -> list[str]:
        """Names of the classes by id, empty for a model without classes."""
        names = self.settings.get("id2label") or {}
        keys = [str(number) for number in range(len(names))]
        if not isinstance(names, dict) or set(names) != set(keys) or not all(isinstance(names[k], str) for k in keys):
            place = os.path.join(self.path, CONFIG)
            raise InputError(f"{place}: id2label: expected {{id: label}} with the ids from 0 on. Received: {names!r}.")
        return [names[key] for key in keys]

    @property
    def task_settings(self) -> dict:
        """What this project's fine-tuning wrote for predictions; {} in folders of others."""
        return (self.settings.get("task_specific_params") or {}).get(_OURS, {})

    def load_weights(self, model: keras.Model, fresh: Sequence[str] = ()) -> LoadReport:
        """See the function of this name."""
        return load_weights(self.path, model, fresh)

    def make_tokenizer(self, *, keep_special_tokens: bool = False) -> TextTokenizer:
        """The tokenizer; keep_special_tokens: [MASK] and the like in a text are tokens."""
        kind = tokenizer_kind(self.family.tokenizer)
        return kind.make(self.vocabulary, self.tokenizer, keep_special_tokens=keep_special_tokens)

    @property
    def has_pooler(self) -> bool:
        """Whether a weight of a pooler is there, whatever the heads."""
        with tensor_files.opened(self.path, self.family.canonical_name) as present:
            return any(".pooler." in name for name in present)


def open_directory(path: str, field: str) -> ModelDirectory:
    """Reads everything but the weights; `field` names the flag or config field in errors.

    Raises:
      InputError: a file is missing or is not what it should be.
    """
    _refuse_pickle(path, field)
    place = os.path.join(path, CONFIG)
    _require_file(CONFIG, os.path.isfile(place), path, field)
    settings = config_io.read_json(place)
    model_type = settings.get("model_type", "bert").removesuffix(_WITH_ADAPTERS)
    family = family_of(_OLD_WITH_ADAPTERS.get(model_type, model_type), f"{field} {path}")
    kind = tokenizer_kind(family.tokenizer)
    _require_file(WEIGHTS, bool(tensor_files.names_in(path)), path, field)
    _require_file(kind.files[0], kind.is_there(path), path, field)
    config = family.read_config(settings, place)
    vocabulary, tokenizer, longest = kind.read(path)
    if len(vocabulary) > (config.vocab_size or 0):
        raise InputError(
            f"{field} {path}: expected a vocabulary of at most vocab_size = {config.vocab_size} tokens. "
            f"Received {len(vocabulary)} with its added tokens."
        )
    return ModelDirectory(
        path=path,
        config=config,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        max_seq_length=int(min(longest, config.max_position_embeddings)),
        settings=settings,
    )


def _require_file(name: str, is_there: bool, path: str, field: str) -> None:
    if not is_there:
        raise InputError(
            f"{field} {path}: expected a model directory with {CONFIG}, {WEIGHTS} and a vocabulary. "
            f"Received one without {name}."
        )


def _refuse_pickle(path: str, field: str) -> None:
    pickles = glob.glob(os.path.join(glob.escape(path), "pytorch_model*.bin"))
    if not pickles or tensor_files.names_in(path):
        return
    config = os.path.join(path, CONFIG)
    names = (config_io.read_json(config).get("architectures") if os.path.isfile(config) else None) or ["BertModel"]
    raise InputError(
        f"{field} {path}: expected weights in safetensors format. Received {os.path.basename(pickles[0])}, a pickle, "
        f'which can run any program when it is read. Where you trust it and have PyTorch: python -c "import '
        f"transformers; transformers.{names[0]}.from_pretrained('{path}').save_pretrained('{path}')\"."
    )


def save(
    path: str,
    model: keras.Model,
    *,
    vocabulary: Vocabulary,
    tokenizer: TokenizerConfig,
    max_seq_length: int,
    labels: Sequence[str] | None = None,
    problem_type: str | None = None,
    task_settings: dict | None = None,
    pooling: Pooling | None = None,
) -> None:
    """Writes a model directory under a temporary name and renames it, replacing an older one (see check_output).

    Args:
      path: folder to write.
      model: see bert_tf.models.model.Model.
      vocabulary: of the weights.
      tokenizer: its settings.
      max_seq_length: length that the model was trained with, kept as tokenizer setting.
      labels: class names by id.
      problem_type: of a sequence classification, in transformers' words.
      task_settings: see ModelDirectory.
      pooling: how a text's vector is made, for sentence-transformers; None for models that make none.
    """
    check_output(path, "output")
    family, architecture = model.family, architecture_of(model)
    is_bare = not family.architectures[architecture]
    tensors = {
        family.bare_name(record.name) if is_bare else record.name: value for record, value in named_arrays(model)
    }
    has_adapters = (task_settings or {}).get("adapter_size")
    settings = {
        "architectures": [architecture],
        **dataclasses.asdict(model.config),
        "model_type": family.model_type + (_WITH_ADAPTERS if has_adapters else ""),
        "pad_token_id": vocabulary["[PAD]"],
        **family.extra_settings(model.config),
    }
    if labels is not None:
        settings["id2label"] = {str(index): label for index, label in enumerate(labels)}
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
    if problem_type is not None:
        settings["problem_type"] = problem_type
    if task_settings is not None:
        settings["task_specific_params"] = {_OURS: task_settings}
    with whole_file.replacing_folder(path) as temporary:
        tensor_files.write(os.path.join(temporary, WEIGHTS), tensors, {"format": "pt"})
        whole_file.write_json(os.path.join(temporary, CONFIG), settings)
        tokenizer_kind(family.tokenizer).write(temporary, vocabulary, tokenizer, max_seq_length)
        if pooling is not None:
            width = model.config.hidden_size
            sentence_transformers.write(temporary, pooling, hidden_size=width, max_seq_length=max_seq_length)


def check_output(path: str, field: str) -> None:
    """Refuses to write a model over anything but an older model or an empty folder.

    Raises:
      InputError: `path` is a file or a folder of something else.
    """
    if objects.is_remote(path):
        raise InputError(f"{field} {path}: expected a folder of this machine to write a model to. Received a URL.")
    if os.path.isfile(path):
        raise InputError(f"{field} {path}: expected a folder to write a model to. Received a file.")
    names = os.listdir(path) if os.path.isdir(path) else []
    kinds = {family_of(name).tokenizer for name in FAMILIES}
    named = {file for kind in kinds for file in tokenizer_kind(kind).files}
    ours = {CONFIG, WEIGHTS, card.NAME, *sentence_transformers.NAMES, *named}
    foreign = sorted(set(names) - ours)
    if foreign:
        raise InputError(
            f"{field} {path}: expected no folder, or one of an older model. Received one with {foreign[0]}."
        )


def load_weights(directory: str, model: keras.Model, fresh: Sequence[str] = ()) -> LoadReport:
    """Sets every weight of `model` that the directory holds.

    Args:
      directory: a model directory.
      model: see bert_tf.models.model.Model.
      fresh: names of weights that are not to be taken.

    Raises:
      InputError: no weight of the encoder is there, or one has another shape.
    """
    source = os.path.join(directory, WEIGHTS)
    with tensor_files.opened(directory, model.family.canonical_name) as present:
        report = assign(
            model,
            present=[name for name in present if name not in fresh],
            rename=lambda name: name,
            read=lambda name, transposed: present[name]().T if transposed else present[name](),
            source=source,
        )
        report = LoadReport(report.loaded, report.fresh, sorted(set(present) - set(report.loaded)))
    adapters = [name for name in report.unused if ".adapter." in name]
    if adapters:
        raise InputError(
            f"{source}: expected a model without adapters, or tuning.method=adapters with the same adapter_size. "
            f"Received one with {adapters[0]}."
        )
    return report


def load_all_weights(directory: str, model: keras.Model) -> None:
    """Like load_weights, for a model that is to answer and not to be trained: nothing may be left fresh."""
    fresh = load_weights(directory, model).fresh
    if fresh:
        source = os.path.join(directory, WEIGHTS)
        raise InputError(f"{source}: expected all weights. Received none of {', '.join(fresh)}.")
