"""Masked LM, with next sentence, sentence order or without pairs (Devlin et al. 2018, 3.1 and A.2; Lan et al. 2020;
Liu et al. 2019): one objective, since the labels of a pair are the data's."""

import keras
from keras import ops

from bert_tf.core.config import EncoderConfig
from bert_tf.core.records import RecordLayout
from bert_tf.models.model import make_model
from bert_tf.objectives.losses import correct, cross_entropy

_LABELS = {"masked_lm": "masked_lm_ids", "next_sentence": "next_sentence_labels"}


class MaskedLM:
    """See bert_tf.objectives.objective.PretrainingObjective.

    Without pairs the model has neither pooler nor pair head.
    """

    def __init__(self, layout: RecordLayout):
        self.layout = layout
        self._parts = ("masked_lm", "next_sentence") if layout.has_pairs else ("masked_lm",)
        self.losses = tuple(f"{part}_loss" for part in self._parts)
        self.metrics = (*self.losses, *(f"{part}_accuracy" for part in self._parts))

    def features(self) -> dict[str, tuple[tuple[int, ...], str]]:
        stored = self.layout.features.items()
        found = {name: (shape, "int32" if dtype == "int64" else dtype) for name, (shape, dtype) in stored}
        if self.layout.has_pairs:  # the input pipeline weighs rows that are not packed
            found.setdefault("next_sentence_weights", ((1,), "float32"))
        return found

    def make_model(self, config: EncoderConfig, dtype: str) -> keras.Model:
        heads: dict[str, dict] = {"masked_lm": {}, "pair": {}} if self.layout.has_pairs else {"masked_lm": {}}
        return make_model(config, heads, dtype=dtype)

    def saved(self, model: keras.Model) -> dict[str, keras.Model]:
        return {"model": model}

    def denominators(self, batch):
        return {f"{part}_loss": ops.sum(batch[f"{part}_weights"]) for part in self._parts}

    def sums(self, model, batch, seed, *, training):
        outputs = model(batch, training=training)
        found = {}
        for part in self._parts:
            logits, labels = _by_sequence(outputs[f"{part}_logits"], part), batch[_LABELS[part]]
            weights = batch[f"{part}_weights"]
            found[f"{part}_loss"] = (ops.sum(cross_entropy(logits, labels) * weights), ops.sum(weights))
            found[f"{part}_accuracy"] = (ops.sum(correct(logits, labels) * weights), ops.sum(weights))
        return found, outputs

    def derived(self, means):
        """The perplexity of the masked tokens."""
        return {"perplexity": float(ops.exp(means["masked_lm_loss"]))} if "masked_lm_loss" in means else {}


def _by_sequence(logits, part: str):
    """Rows that are not packed hold one pair: [batch, 2] -> [batch, 1, 2]; what is masked stays as it is."""
    return logits[:, None] if part == "next_sentence" and len(logits.shape) == 2 else logits
