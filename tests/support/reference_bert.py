"""BERT's forward pass and pretraining losses in float64 NumPy, from the paper's definitions, without bert_tf.

Weights are a dict with Hugging Face's names, as bert_tf.interop.weights.weight_names gives them, kernels [in, out].
"""

import math

import numpy as np

_erf = np.vectorize(math.erf)


def encode(w: dict, batch: dict, *, layers: int, heads: int, epsilon: float = 1e-12) -> tuple[np.ndarray, np.ndarray]:
    """(sequence_output, pooled_output)."""
    ids, types, mask = batch["input_word_ids"], batch["input_type_ids"], batch["input_mask"]
    x = w["bert.embeddings.word_embeddings.weight"][ids]
    x = x + w["bert.embeddings.position_embeddings.weight"][np.arange(ids.shape[1])]
    x = x + w["bert.embeddings.token_type_embeddings.weight"][types]
    x = _norm(w, "bert.embeddings.LayerNorm", x, epsilon)
    for i in range(layers):
        p = f"bert.encoder.layer.{i}"
        attended = np.zeros_like(x)
        size = x.shape[-1] // heads
        for h in range(heads):
            q, k, v = (
                _dense(w, f"{p}.attention.self.{n}", x)[..., h * size : (h + 1) * size]
                for n in ("query", "key", "value")
            )
            scores = np.einsum("bqd,bkd->bqk", q, k) / math.sqrt(size)
            scores = np.where(mask[:, None, :] == 1, scores, -np.inf)
            attended[..., h * size : (h + 1) * size] = _softmax(scores) @ v
        x = _norm(w, f"{p}.attention.output.LayerNorm", x + _dense(w, f"{p}.attention.output.dense", attended), epsilon)
        hidden = _gelu(_dense(w, f"{p}.intermediate.dense", x))
        x = _norm(w, f"{p}.output.LayerNorm", x + _dense(w, f"{p}.output.dense", hidden), epsilon)
    return x, np.tanh(_dense(w, "bert.pooler.dense", x[:, 0]))


def pretraining_loss(w: dict, batch: dict, **sizes) -> tuple[float, np.ndarray, np.ndarray]:
    """(sum of both losses, masked-LM logits, next-sentence logits)."""
    sequence, pooled = encode(w, batch, **sizes)
    rows = np.arange(len(sequence))[:, None]
    x = _gelu(_dense(w, "cls.predictions.transform.dense", sequence[rows, batch["masked_lm_positions"]]))
    x = _norm(w, "cls.predictions.transform.LayerNorm", x, 1e-12)
    masked_lm = x @ w["bert.embeddings.word_embeddings.weight"].T + w["cls.predictions.bias"]
    next_sentence = _dense(w, "cls.seq_relationship", pooled)
    weights = batch["masked_lm_weights"].astype(np.float64)
    masked_lm_loss = (_cross_entropy(masked_lm, batch["masked_lm_ids"]) * weights).sum() / weights.sum()
    return (
        masked_lm_loss + _cross_entropy(next_sentence, batch["next_sentence_labels"][:, 0]).mean(),
        masked_lm,
        next_sentence,
    )


def _dense(w, name, x):
    return x @ w[f"{name}.weight"] + w[f"{name}.bias"]


def _norm(w, name, x, epsilon):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * w[f"{name}.weight"] + w[f"{name}.bias"]


def _gelu(x):
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _cross_entropy(logits, labels):
    return -np.log(np.take_along_axis(_softmax(logits), labels[..., None], axis=-1)[..., 0])
