"""BERT (Devlin et al. 2018) as a family."""

from collections.abc import Iterator
from typing import Any

import keras

from bert_tf.core import config_io
from bert_tf.core.errors import InputError
from bert_tf.models.bert.config import PRESETS, BertConfig, preset
from bert_tf.models.bert.encoder import BertEncoder
from bert_tf.models.bert.heads import HEADS
from bert_tf.models.family import WeightRecord

_READ_POOLED_OUTPUT = ("sequence", "choices", "pair")
# What transformers computes alike under other names.
_SAME_ACTIVATION = {"gelu_pytorch_tanh": "gelu_new"}


class Bert:
    """See bert_tf.models.family.Family."""

    model_type = "bert"
    config_class = BertConfig
    presets = {name: preset(name) for name in PRESETS}
    tokenizer = "wordpiece"
    architectures = {
        "BertForPreTraining": ("masked_lm", "pair"),
        "BertForMaskedLM": ("masked_lm",),
        "BertForNextSentencePrediction": ("pair",),
        "BertForSequenceClassification": ("sequence",),
        "BertForTokenClassification": ("tokens",),
        "BertForQuestionAnswering": ("spans",),
        "BertForMultipleChoice": ("choices",),
        "BertModel": (),
    }
    lora_targets = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
    }

    def encoder(
        self,
        config: BertConfig,
        *,
        heads: tuple[str, ...] = (),
        with_pooler: bool | None = None,
        adapter_size: int | None = None,
        dtype: Any = None,
    ) -> BertEncoder:
        is_read = any(kind in _READ_POOLED_OUTPUT for kind in heads)
        has_pooler = is_read if with_pooler is None else with_pooler
        encoder = BertEncoder(config, has_pooler, adapter_size, dtype=dtype)
        if encoder.pooler is not None and heads and not is_read:
            encoder.pooler.trainable = False  # it is only passed on
        return encoder

    def head(self, kind: str, config: BertConfig, *, dtype: Any = None, **settings: Any) -> keras.layers.Layer:
        if kind not in HEADS:
            raise InputError(f"head: expected one of {', '.join(HEADS)}. Received: {kind}.")
        return HEADS[kind](config, dtype=dtype, **settings)

    def weights(self, model: keras.Model) -> Iterator[WeightRecord]:
        encoder, heads = model.encoder, model.heads
        count = len(encoder.blocks)
        embeddings = encoder.embeddings
        lowest: dict[str, Any] = {"depth": count + 1, "part": "embeddings"}
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            yield WeightRecord(f"bert.embeddings.{name}.weight", getattr(embeddings, name), **lowest)
        yield from _norm("bert.embeddings.LayerNorm", embeddings.layer_norm, **lowest)
        for index, block in enumerate(encoder.blocks):
            yield from self._block(f"bert.encoder.layer.{index}", block, count - index)
        if encoder.pooler is not None:
            yield from _linear("bert.pooler.dense", encoder.pooler, part="pooler")
        if "masked_lm" in heads:
            yield from _linear("cls.predictions.transform.dense", heads["masked_lm"].transform)
            yield from _norm("cls.predictions.transform.LayerNorm", heads["masked_lm"].transform_norm, part="head")
            yield WeightRecord("cls.predictions.bias", heads["masked_lm"].bias, decays=False)
        for kind, name in (
            ("pair", "cls.seq_relationship"),
            ("sequence", "classifier"),
            ("choices", "classifier"),
            ("tokens", "classifier"),
            ("spans", "qa_outputs"),
        ):
            if kind in heads:
                yield from _linear(name, heads[kind])

    def _block(self, prefix: str, block: keras.layers.Layer, depth: int) -> Iterator[WeightRecord]:
        attention = block.attention
        layers = {
            "query": attention.query,
            "key": attention.key,
            "value": attention.value,
            "attention_output": attention.output_dense,
            "intermediate": block.intermediate,
            "output": block.output_dense,
        }
        norms = {"attention_output": block.attention_norm, "output": block.output_norm}
        for part, layer in layers.items():
            name = f"{prefix}.{self.lora_targets[part]}"
            yield from _linear(name, layer, depth=depth, part=part, adaptable=True)
            if part in norms:
                yield from _norm(name.removesuffix("dense") + "LayerNorm", norms[part], depth=depth, part="norm")
        # transformers knows no adapters; these names are this project's.
        for place, adapter in zip(("attention.output", "output"), block.adapters, strict=False):
            for end, layer in (("down", adapter.down), ("up", adapter.up)):
                yield from _linear(f"{prefix}.{place}.adapter.{end}", layer, depth=depth, part="adapter")

    def read_config(self, settings: dict, place: str) -> BertConfig:
        fields = config_io.field_names(BertConfig)
        activation = settings.get("hidden_act", "gelu")
        if _SAME_ACTIVATION.get(activation, activation) not in ("gelu", "gelu_new"):
            raise InputError(f"{place}: expected hidden_act gelu or gelu_new. Received: {activation!r}.")
        for name, only in (("position_embedding_type", "absolute"), ("tie_word_embeddings", True)):
            if settings.get(name, only) != only:
                raise InputError(f"{place}: expected {name} {only}. Received: {settings[name]!r}.")
        values = {"vocab_size": 30_522} | {name: value for name, value in settings.items() if name in fields}
        values |= {"model_type": "bert", "hidden_act": _SAME_ACTIVATION.get(activation, activation)}
        config = config_io.from_dict(BertConfig, values, place)
        config_io.check_types(config, place)
        return config

    def extra_settings(self, config: BertConfig) -> dict:
        return {"position_embedding_type": "absolute", "tie_word_embeddings": True}

    def canonical_name(self, name: str) -> str | None:
        # Encoders are saved with and without the prefix, and old files call LayerNorm's weights gamma and beta.
        if name.startswith(("embeddings.", "encoder.", "pooler.")):
            name = "bert." + name
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        # The output matrix is the embedding table, and position_ids is a constant.
        follows = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "bert.embeddings.position_ids")
        return None if name in follows else name

    def bare_name(self, name: str) -> str:
        return name.removeprefix("bert.")


def _linear(
    prefix: str, layer: keras.layers.Dense, *, depth: int = 0, part: str = "head", adaptable: bool = False
) -> Iterator[WeightRecord]:
    yield WeightRecord(
        f"{prefix}.weight", layer.kernel, True, depth=depth, part=part, layer=layer if adaptable else None
    )
    yield WeightRecord(f"{prefix}.bias", layer.bias, decays=False, depth=depth, part=part)


def _norm(
    prefix: str, layer: keras.layers.LayerNormalization, *, depth: int = 0, part: str = "norm"
) -> Iterator[WeightRecord]:
    yield WeightRecord(f"{prefix}.weight", layer.gamma, decays=False, depth=depth, part=part)
    yield WeightRecord(f"{prefix}.bias", layer.beta, decays=False, depth=depth, part=part)


BERT = Bert()
