"""Models that transformers made, with what it answered, and what this project answers with the same weights."""

import os

import numpy as np

from bert_tf.interop import huggingface
from bert_tf.interop.source import open_source
from bert_tf.runs import conversion

_NAMES = {"input_ids": "input_word_ids", "attention_mask": "input_mask", "token_type_ids": "input_type_ids"}
# Their outputs -> ours, by head.
_OUTPUTS = {
    "BertModel": {"last_hidden_state": "sequence_output", "pooler_output": "pooled_output"},
    "BertForPreTraining": {
        "prediction_logits": "masked_lm_logits",
        "seq_relationship_logits": "next_sentence_logits",
    },
    "BertForMaskedLM": {"logits": "masked_lm_logits"},
    "BertForNextSentencePrediction": {"logits": "next_sentence_logits"},
    "BertForQuestionAnswering": {"start_logits": "start_logits", "end_logits": "end_logits"},
}


def compared(path: str) -> float:
    """The largest difference between any hidden state, pooled output or logit of theirs and of ours.

    A folder holds a model as transformers saved it, and expected.npz: its inputs, hidden_0, hidden_1, ... and outputs.
    """
    source = open_source(path, "--model")
    told = conversion.told_by(source)
    name = told["architecture"]
    model = conversion.model_of(source, name, told)
    huggingface.load_all_weights(path, model)
    with np.load(os.path.join(path, "expected.npz")) as expected:
        batch = {ours: expected[theirs].astype(np.int32) for theirs, ours in _NAMES.items()}
        if name in ("BertForPreTraining", "BertForMaskedLM"):
            rows, length = batch["input_word_ids"].shape
            batch["masked_lm_positions"] = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
        found = {key: np.asarray(x) for key, x in model(batch).items() if key != "hidden_states"}
        flat = {key: x.reshape(-1, x.shape[-1]) for key, x in batch.items()}
        states = model.encoder(flat)["hidden_states"]
        pairs = [(expected[f"hidden_{layer}"], np.asarray(state)) for layer, state in enumerate(states)]
        pairs += [(expected[theirs], found[ours]) for theirs, ours in _OUTPUTS.get(name, {"logits": "logits"}).items()]
        return max(float(np.abs(theirs - ours).max()) for theirs, ours in pairs)
