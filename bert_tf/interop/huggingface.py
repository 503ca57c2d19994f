"""The model directory in Hugging Face's layout: config.json, model.safetensors, vocab.txt, tokenizer_config.json.

Theirs and ours hold the same numbers; a Dense kernel of ours, [in, out], is the transpose of their Linear weight.
"""

import dataclasses
import glob
import os
from collections.abc import Sequence

import keras

from bert_tf.core import config_io, whole_file
from bert_tf.core.config import BertConfig
from bert_tf.core.config_finetune import HeadConfig
from bert_tf.core.errors import InputError
from bert_tf.interop import hf_tokenizer, sentence_transformers, tensor_files
from bert_tf.interop.tensor_files import WEIGHTS
from bert_tf.interop.weights import LoadReport, assign, named_arrays
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary

CONFIG = "config.json"
# What transformers should refuse rather than open without the adapters.
_WITH_ADAPTERS = "bert_tf_with_adapters"
_OURS = "bert_tf"  # under task_specific_params of config.json


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelDirectory:
    """What a model directory says besides its weights.

    max_seq_length: tokens that a text is cut to, special tokens included.
    settings: config.json as it stands, with architectures and label names.
    """

    path: str
    config: BertConfig
    vocabulary: Vocabulary
    tokenizer: TokenizerConfig
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

    def has_weight(self, name: str) -> bool:
        """Whether there is a weight of this name (Hugging Face's, with "bert.")."""
        with tensor_files.opened(self.path) as present:
            return name in present


def open_directory(path: str, field: str) -> ModelDirectory:
    """Reads everything but the weights; `field` names the flag or config field in errors.

    Raises:
      InputError: a file is missing or is not what it should be.
    """
    _refuse_pickle(path, field)
    for name, is_there in (
        (CONFIG, os.path.isfile(os.path.join(path, CONFIG))),
        (WEIGHTS, bool(tensor_files.names_in(path))),
        (hf_tokenizer.VOCABULARY, hf_tokenizer.is_there(path)),
    ):
        if not is_there:
            raise InputError(
                f"{field} {path}: expected a model directory with {CONFIG}, {WEIGHTS} and {hf_tokenizer.VOCABULARY}. "
                f"Received one without {name}."
            )
    settings = config_io.read_json(os.path.join(path, CONFIG))
    if settings.get("model_type", "bert") not in ("bert", _WITH_ADAPTERS):
        raise InputError(f"{field} {path}: expected model_type 'bert'. Received: {settings['model_type']!r}.")
    fields = {f.name for f in dataclasses.fields(BertConfig)}
    activation = settings.get("hidden_act", "gelu")
    settings_config = {name: value for name, value in settings.items() if name in fields}
    settings_config["hidden_act"] = "gelu_new" if activation == "gelu_pytorch_tanh" else activation
    if settings_config["hidden_act"] not in ("gelu", "gelu_new"):
        raise InputError(f"{field} {path}: expected hidden_act gelu or gelu_new. Received: {activation!r}.")
    vocabulary = hf_tokenizer.read_vocabulary(path)
    if settings.get("position_embedding_type", "absolute") != "absolute":
        kind = settings["position_embedding_type"]
        raise InputError(f"{field} {path}: expected position_embedding_type absolute. Received: {kind!r}.")
    config = config_io.from_dict(BertConfig, settings_config, os.path.join(path, CONFIG))
    config_io.check_types(config, os.path.join(path, CONFIG))
    if len(vocabulary) > config.vocab_size:
        raise InputError(
            f"{field} {path}: expected a vocabulary of at most vocab_size = {config.vocab_size} tokens. "
            f"Received {len(vocabulary)} in {hf_tokenizer.VOCABULARY}."
        )
    if settings.get("tie_word_embeddings") is False:
        raise InputError(f"{field} {path}: expected tie_word_embeddings true, as BERT has it. Received: false.")
    tokenizer, longest = hf_tokenizer.read_settings(path)
    return ModelDirectory(
        path=path,
        config=config,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        max_seq_length=int(min(longest, config.max_position_embeddings)),
        settings=settings,
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
    architecture: str,
    vocabulary: Vocabulary,
    tokenizer: TokenizerConfig,
    max_seq_length: int,
    labels: Sequence[str] | None = None,
    problem_type: str | None = None,
    task_settings: dict | None = None,
    embedding: HeadConfig | None = None,
) -> None:
    """Writes a model directory under a temporary name and renames it, replacing an older one (see check_output).

    Args:
      path: folder to write.
      model: a model with `.config` and `.encoder`.
      architecture: the class of `transformers` that opens it, such as BertForPreTraining.
      vocabulary: of the weights.
      tokenizer: its settings.
      max_seq_length: length that the model was trained with, kept as tokenizer setting.
      labels: class names by id.
      problem_type: of a sequence classification, in transformers' words.
      task_settings: see ModelDirectory.
      embedding: how a text's vector is made, for sentence-transformers; None for models that make none.
    """
    check_output(path, "output")
    # transformers saves a bare encoder without the prefix that it has below a head.
    prefix = "bert." if architecture == "BertModel" else ""
    tensors = {name.removeprefix(prefix): value for name, value, _ in named_arrays(model)}
    settings = {
        "architectures": [architecture],
        "model_type": _WITH_ADAPTERS if (task_settings or {}).get("adapter_size") else "bert",
        **dataclasses.asdict(model.config),
        "pad_token_id": vocabulary["[PAD]"],
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
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
        hf_tokenizer.write(temporary, vocabulary, tokenizer, max_seq_length)
        if embedding is not None:
            width = model.config.hidden_size
            sentence_transformers.write(temporary, embedding, hidden_size=width, max_seq_length=max_seq_length)


def check_output(path: str, field: str) -> None:
    """Refuses to write a model over anything but an older model or an empty folder.

    Raises:
      InputError: `path` is a file or a folder of something else.
    """
    if os.path.isfile(path):
        raise InputError(f"{field} {path}: expected a folder to write a model to. Received a file.")
    names = os.listdir(path) if os.path.isdir(path) else []
    ours = {CONFIG, WEIGHTS, hf_tokenizer.CONFIG, hf_tokenizer.VOCABULARY, *sentence_transformers.NAMES}
    foreign = sorted(set(names) - ours)
    if foreign:
        raise InputError(
            f"{field} {path}: expected no folder, or one of an older model. Received one with {foreign[0]}."
        )


def load_weights(directory: str, model: keras.Model, fresh: Sequence[str] = ()) -> LoadReport:
    """Sets every weight of `model` that the directory holds.

    Args:
      directory: a model directory.
      model: anything that weight_names knows.
      fresh: names of weights that are not to be taken.

    Raises:
      InputError: no weight of the encoder is there, or one has another shape.
    """
    source = os.path.join(directory, WEIGHTS)
    with tensor_files.opened(directory) as present:
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
