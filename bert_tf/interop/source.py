"""What a model may start from, told apart by what the folder holds."""

import dataclasses
import hashlib
import os
from collections.abc import Callable

import keras

from bert_tf.core import config_io
from bert_tf.core.config import EncoderConfig
from bert_tf.core.errors import InputError
from bert_tf.core.stores import objects
from bert_tf.core.stores.cache import local_folder
from bert_tf.interop import google, huggingface
from bert_tf.interop.weights import LoadReport
from bert_tf.models.family import family_of, records
from bert_tf.text.tokenizer import TextTokenizer, tokenizer_kind
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A checkpoint that is not loaded yet.

    Attributes:
      path: the folder that holds the weights.
      config: the network.
      vocabulary: of the weights.
      tokenizer: its settings.
      max_seq_length: tokens that a text is cut to.
      load_weights: (model, names to leave fresh) -> report of loaded, fresh and unused weights.
      directory: the model directory; None for a checkpoint of Google's.
    """

    path: str
    config: EncoderConfig
    vocabulary: Vocabulary
    tokenizer: TokenizerConfig
    max_seq_length: int
    load_weights: Callable[..., LoadReport]
    directory: huggingface.ModelDirectory | None = None

    def fresh_records(self, model: keras.Model, report: LoadReport) -> set[str]:
        """Names, as the family's records have them, of the weights that a report says were not there."""
        rename = google.google_name if self.directory is None else str
        return {record.name for record in records(model) if rename(record.name) in report.fresh}

    def make_tokenizer(self) -> TextTokenizer:
        """The tokenizer of the weights."""
        return tokenizer_kind(family_of(self.config.model_type).tokenizer).make(self.vocabulary, self.tokenizer)

    def digest(self) -> str:
        """A hash of the files that hold the weights."""
        found = hashlib.blake2b(digest_size=16)
        for name in sorted(os.listdir(self.path)):
            if name.endswith(".safetensors") or ".ckpt" in name:
                with open(os.path.join(self.path, name), "rb") as file:
                    found.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
        return found.hexdigest()


def open_source(path: str, field: str) -> Source:
    """A Google TF1 checkpoint's folder, a Hugging Face or model directory, or the workdir of a finished run.

    Args:
      path: the folder.
      field: the flag or config field that names it, for errors.

    Raises:
      InputError: none of these.
    """
    given, path = path, local_model(path)
    if not os.path.isdir(path):
        raise InputError(
            f"{field} {given}: expected the folder of a model: a workdir or model directory of this project, a Hugging "
            "Face folder, or a Google TF1 checkpoint. Received: no such folder."
        )
    if google.is_checkpoint(path):
        config, vocabulary, tokenizer = google.read_config(path)
        return Source(
            path=path,
            config=config,
            vocabulary=vocabulary,
            tokenizer=tokenizer,
            max_seq_length=config.max_position_embeddings,
            load_weights=lambda model, fresh=(): google.load_weights(path, model, fresh),
        )
    if _is_workdir(path):
        if not os.path.isdir(os.path.join(path, "model")):
            raise InputError(f"{field} {path}: expected a finished run. Received a workdir without model/.")
        path = os.path.join(path, "model")
    directory = huggingface.open_directory(path, field)
    return Source(
        path=path,
        config=directory.config,
        vocabulary=directory.vocabulary,
        tokenizer=directory.tokenizer,
        max_seq_length=directory.max_seq_length,
        load_weights=directory.load_weights,
        directory=directory,
    )


def local_model(path: str) -> str:
    """The path of a model on this machine: a copy if it is on a store; of a workdir there, only its model is copied."""
    if not objects.is_remote(path):
        return path
    names = (google.CONFIG, huggingface.CONFIG)
    inner = objects.join(path, "model")
    if objects.stat(objects.join(inner, huggingface.CONFIG)):
        return local_folder(inner)
    # Nothing else is copied, however large: open_source says that it is no model.
    return local_folder(path) if any(objects.stat(objects.join(path, name)) for name in names) else path


def _is_workdir(path: str) -> bool:
    config = os.path.join(path, huggingface.CONFIG)
    # Both have a config.json; that of a run has the run's sections.
    return os.path.isfile(config) and {"train", "optimizer"} <= set(config_io.read_json(config))
