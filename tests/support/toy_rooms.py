"""A family, an objective, a task and a kind of tokenizer that exist here only, and are put into the tables.

python -m tests.support.toy_rooms MODULE ARGUMENTS...   runs a command with them
"""

import dataclasses
import os
import runpy
import sys
from typing import ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from bert_tf.core import config_io, whole_file
from bert_tf.core.config import EncoderConfig, FinetuneConfig, HeadConfig
from bert_tf.core.section import bounded
from bert_tf.models import family as families
from bert_tf.models.dropout import random_bits
from bert_tf.models.family import WeightRecord
from bert_tf.models.heads import Head
from bert_tf.models.layers import gather_positions
from bert_tf.models.model import make_model
from bert_tf.objectives import objective as objectives
from bert_tf.objectives.losses import correct, cross_entropy
from bert_tf.objectives.supervised import Supervised
from bert_tf.tasks import task as tasks
from bert_tf.tasks.shared.sections import ClassDataConfig
from bert_tf.tasks.shared.sequences import SequenceTask
from bert_tf.tasks.task import check_label
from bert_tf.text import tokenizer as tokenizers
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import CLS, PAD, SEP, SPECIAL_TOKENS, UNK, Vocabulary

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789.,()_-"
# A space is a token too; a letter behind it begins a word.
VOCABULARY = Vocabulary((*SPECIAL_TOKENS, "_", *_ALPHABET.replace("_", "")))


# A kind of tokenizer: one token a character.


class LetterTokenizer(tf.Module):
    """See bert_tf.text.tokenizer.TextTokenizer."""

    def __init__(self, vocabulary: Vocabulary, config: TokenizerConfig):
        super().__init__(name="letters")
        self.vocabulary, self._lower_case = vocabulary, config.lower_case
        self.begins_word = tf.constant([token == "_" for token in vocabulary.tokens])
        keys = tf.constant(vocabulary.tokens[len(SPECIAL_TOKENS) :])
        ids = tf.range(len(SPECIAL_TOKENS), len(vocabulary))
        table = tf.lookup.KeyValueTensorInitializer(keys, ids)
        self._table = tf.lookup.StaticHashTable(table, vocabulary[UNK])

    def tokenize(self, texts):
        texts = tf.convert_to_tensor(texts, tf.string)
        texts = tf.strings.lower(texts) if self._lower_case else texts
        texts = tf.strings.regex_replace(tf.strings.strip(texts), r"\s+", "_")
        letters = tf.strings.unicode_split(texts, "UTF-8", errors="replace")
        return letters.with_values(self._table.lookup(letters.values))

    def tokenize_with_offsets(self, texts):
        ids = self.tokenize(texts)
        places = tf.ragged.range(tf.cast(ids.row_lengths(), tf.int64))
        return ids, places, places.with_values(places.values + 1)

    def detokenize(self, ids, *, skip_special_tokens=True):
        letters = ids.with_values(tf.gather(tf.constant(self.vocabulary.tokens), ids.values))
        return tf.strings.reduce_join(letters, axis=1)

    def pack(self, *segments, max_seq_length, fixed_length=True, with_counts=False, **options):
        ids, types, counts = [], [], 1
        for number, texts in enumerate(segments):
            part = self.tokenize(texts)
            counts += part.row_lengths() + 1
            part = part[:, : max_seq_length // len(segments) - 2]
            first = [tf.fill([part.nrows(), 1], self.vocabulary[CLS])] if not number else []
            part = tf.concat([*first, part, tf.fill([part.nrows(), 1], self.vocabulary[SEP])], axis=1)
            ids.append(part)
            types.append(part.with_values(tf.fill(tf.shape(part.values), number)))
        row, types = tf.concat(ids, axis=1), tf.concat(types, axis=1)
        shape = [None, max_seq_length if fixed_length else None]
        packed = {
            "input_word_ids": row.to_tensor(self.vocabulary[PAD], shape=shape),
            "input_mask": tf.ones_like(row).to_tensor(0, shape=shape),
            "input_type_ids": types.to_tensor(0, shape=shape),
        }
        return packed | ({"token_counts": tf.cast(counts, tf.int32)} if with_counts else {})


class Letters:
    """See bert_tf.text.tokenizer.TokenizerKind."""

    files = ("letters.txt", "letters.json")

    def is_there(self, folder):
        return os.path.exists(os.path.join(folder, self.files[0]))

    def read(self, folder):
        config = config_io.read_json(os.path.join(folder, self.files[1]))
        vocabulary = Vocabulary.load(os.path.join(folder, self.files[0]))
        return vocabulary, TokenizerConfig(lower_case=config["lower_case"]), float(config["longest"])

    def write(self, folder, vocabulary, config, max_seq_length):
        with open(os.path.join(folder, self.files[0]), "wb") as file:
            file.write(vocabulary.serialize())
        settings = {"lower_case": config.lower_case, "longest": max_seq_length}
        whole_file.write_json(os.path.join(folder, self.files[1]), settings)

    def make(self, vocabulary, config, *, keep_special_tokens=False):
        return LetterTokenizer(vocabulary, config)


LETTERS = Letters()


# A family: blocks that mix in the mean of what is visible.


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixerConfig(EncoderConfig):
    """A network without attention."""

    model_type: Literal["mixer"] = "mixer"
    hidden_size: int = bounded(16, at_least=1)
    num_hidden_layers: int = bounded(2, at_least=1)
    num_attention_heads: int = 1
    max_position_embeddings: int = bounded(128, at_least=1)
    type_vocab_size: int = bounded(2, at_least=1)


class MixerBlock(keras.layers.Layer):
    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.own = keras.layers.Dense(width, name="own", dtype=self.dtype_policy)
        self.others = keras.layers.Dense(width, use_bias=False, name="others", dtype=self.dtype_policy)
        self.dropout = keras.layers.Dropout(0.1)

    def build(self, input_shape=None):
        self.own.build((None, None, self.width))
        self.others.build((None, None, self.width))

    def call(self, x, visible, training=False):
        mean = ops.sum(x * visible, axis=1, keepdims=True) / ops.maximum(ops.sum(visible, axis=1, keepdims=True), 1)
        return x + self.dropout(ops.tanh(self.own(x) + self.others(mean)), training=training)


class MixerEncoder(keras.layers.Layer):
    def __init__(self, config: MixerConfig, **kwargs):
        super().__init__(name="mixer", **kwargs)
        self.config = config
        self.blocks = [
            MixerBlock(config.hidden_size, name=f"block_{i}", dtype=self.dtype_policy)
            for i in range(config.num_hidden_layers)
        ]

    def build(self, input_shape=None):
        config = self.config
        sizes = {"tokens": config.vocab_size, "places": config.max_position_embeddings}
        for name, rows in sizes.items():
            setattr(self, name, self.add_weight(shape=(rows, config.hidden_size), name=name))
        for block in self.blocks:
            block.build()

    def run_block(self, block, x, visible, training):
        return block(x, visible, training=training)

    @property
    def token_table(self):
        return self.tokens

    def forward_flops(self, *, rows, length):
        return 4.0 * rows * length * self.config.hidden_size**2 * self.config.num_hidden_layers

    def call(self, inputs, training=False):
        x = ops.take(self.tokens, inputs["input_word_ids"], axis=0)
        x = x + ops.convert_to_tensor(self.places)[: ops.shape(x)[1]]
        visible = ops.cast(inputs["input_mask"], x.dtype)[..., None]
        states = [x]
        for block in self.blocks:
            x = self.run_block(block, x, visible, training)
            states.append(x)
        return {"sequence_output": x, "hidden_states": states}


class MixerLMHead(Head):
    """The token table alone."""

    def __init__(self, config, **kwargs):
        super().__init__(name="lm", **kwargs)

    def build(self, input_shape=None):
        self.scale = self.add_weight(shape=(1,), initializer="ones", name="scale")

    def call(self, encoded, inputs, training=False):
        x = gather_positions(encoded["sequence_output"], inputs["masked_lm_positions"]) * self.scale
        table = ops.transpose(ops.convert_to_tensor(encoded["token_table"]))
        return {"masked_lm_logits": ops.cast(ops.matmul(x, table), "float32")}


class MixerSequenceHead(Head):
    reads_first_token_only = False

    def __init__(self, config, *, units, dropout=0.0, **kwargs):
        super().__init__(name="verdict", **kwargs)
        self.width, self.out = config.hidden_size, keras.layers.Dense(units, name="out", dtype=self.dtype_policy)

    def build(self, input_shape=None):
        self.out.build((None, self.width))

    def call(self, encoded, inputs, training=False):
        mask = ops.cast(inputs["input_mask"], "float32")[..., None]
        return {"logits": ops.cast(self.out(ops.max(encoded["sequence_output"] * mask, axis=1)), "float32")}


class Mixer:
    """See bert_tf.models.family.Family."""

    model_type = "mixer"
    config_class = MixerConfig
    presets: ClassVar[dict] = {"tiny": MixerConfig()}
    tokenizer = "letters"
    architectures: ClassVar[dict] = {
        "MixerForLM": ("masked_lm",),
        "MixerForVerdict": ("sequence",),
        "MixerModel": (),
    }
    lora_targets: ClassVar[dict] = {"own": "own"}

    def encoder(self, config, *, heads=(), with_pooler=None, adapter_size=None, dtype=None):
        return MixerEncoder(config, dtype=dtype)

    def head(self, kind, config, *, dtype=None, **settings):
        return {"masked_lm": MixerLMHead, "sequence": MixerSequenceHead}[kind](config, dtype=dtype, **settings)

    def weights(self, model):
        encoder, count = model.encoder, len(model.encoder.blocks)
        for name in ("tokens", "places"):
            yield WeightRecord(f"mixer.{name}", getattr(encoder, name), depth=count + 1, part="embeddings")
        for index, block in enumerate(encoder.blocks):
            name, place = f"mixer.blocks.{index}", {"depth": count - index}
            yield WeightRecord(f"{name}.own.weight", block.own.kernel, True, part="own", layer=block.own, **place)
            yield WeightRecord(f"{name}.own.bias", block.own.bias, decays=False, part="own", **place)
            yield WeightRecord(f"{name}.others.weight", block.others.kernel, True, part="others", **place)
        for head in model.heads.values():
            for variable in head.weights:
                yield WeightRecord(f"{head.name}.{variable.name}", variable)

    def read_config(self, settings, place):
        known = config_io.field_names(MixerConfig)
        return config_io.from_dict(MixerConfig, {k: v for k, v in settings.items() if k in known}, place)

    def extra_settings(self, config):
        return {}

    def canonical_name(self, name):
        return name

    def bare_name(self, name):
        return name


MIXER = Mixer()


# An objective: masked LM on half of the masks, drawn in every step, and a bound on the logits' size.


class HalfOfTheMasks:
    """See bert_tf.objectives.objective.PretrainingObjective."""

    losses = ("token_loss", "size_loss")
    metrics = (*losses, "token_accuracy")

    def __init__(self, layout):
        self._layout = layout

    def features(self):
        names = {n: (s, "int32" if d == "int64" else d) for n, (s, d) in self._layout.features.items()}
        return {n: x for n, x in names.items() if n.startswith(("input_", "masked_lm_"))}

    def make_model(self, config, dtype):
        return make_model(config, {"masked_lm": {}}, dtype=dtype)

    def saved(self, model):
        return {"model": model}

    def denominators(self, batch):
        return dict.fromkeys(self.losses, ops.sum(batch["masked_lm_weights"]))

    def sums(self, model, batch, seed, *, training):
        outputs = model(batch, training=training)
        logits, labels, weights = outputs["masked_lm_logits"], batch["masked_lm_ids"], batch["masked_lm_weights"]
        total, chosen = ops.sum(weights), weights
        if training:
            drawn = random_bits(ops.cast(seed, "uint32"), ops.shape(weights)) < ops.cast(2**31, "uint32")
            chosen = 2.0 * weights * ops.cast(drawn, "float32")
        size = ops.square(ops.logsumexp(logits, axis=-1))
        return {
            "token_loss": (ops.sum(cross_entropy(logits, labels) * chosen), total),
            "size_loss": (1e-4 * ops.sum(size * weights), total),
            "token_accuracy": (ops.sum(correct(logits, labels) * weights), total),
        }, outputs

    def derived(self, means):
        return {}


# A task: how sure the model is of the second class.


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurenessHeadConfig(HeadConfig):
    section: ClassVar[str] = "head"
    temperature: float = bounded(1.0, above=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurenessConfig(FinetuneConfig):
    task: Literal["sureness"] = "sureness"
    data: ClassDataConfig = ClassDataConfig()
    head: SurenessHeadConfig = SurenessHeadConfig()


class Sureness(SequenceTask):
    """Answers: {"text", "sureness"}."""

    name = "sureness"
    config_class = SurenessConfig
    problem_type = "sureness"
    has_labels = True
    metric = "right"
    signature = "how_sure"

    @classmethod
    def learn_labels(cls, examples, data, field):
        return sorted({example["label"] for example in examples})

    def targets(self, examples):
        ids = {label: index for index, label in enumerate(self.labels)}
        return {"label_ids": np.array([check_label(e["label"], ids, e["place"]) for e in examples], np.int32)}

    def objective(self):
        return Supervised("sureness_loss")

    def decode(self, tokenizer, outputs, layout, columns):
        return {"sureness": tf.nn.softmax(outputs["logits"] / self.settings.temperature)[:, 1]}

    def outputs(self):
        return {"sureness": "[batch] of the second class"}

    def answer(self, example, found):
        return {"text": example["text"], "sureness": round(float(found["sureness"]), 6)}

    def scores(self, examples, answers):
        right = [
            (a["sureness"] > 0.5) == (e["label"] == self.labels[1]) for e, a in zip(examples, answers, strict=True)
        ]
        return {"examples": len(right), "right": float(np.mean(right))}


def register() -> None:
    """Puts all four into the tables."""
    here = "tests.support.toy_rooms"
    tokenizers.TOKENIZERS["letters"] = f"{here}:LETTERS"
    families.FAMILIES["mixer"] = f"{here}:MIXER"
    objectives.OBJECTIVES["half_of_the_masks"] = f"{here}:HalfOfTheMasks"
    tasks.TASKS["sureness"] = f"{here}:Sureness"


if __name__ == "__main__":
    register()
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
