"""A checkpoint as google-research/bert writes it, for the tests."""

import json

import numpy as np
import tensorflow as tf

from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary

VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *(f"t{i}" for i in range(45))))


def write_google_checkpoint(folder, config, model) -> None:
    """A TF1 checkpoint with the variable names and layouts of google-research/bert, written with TF1's own Saver."""
    names = {
        "bert/embeddings/word_embeddings": model.encoder.embeddings.word_embeddings,
        "bert/embeddings/position_embeddings": model.encoder.embeddings.position_embeddings,
        "bert/embeddings/token_type_embeddings": model.encoder.embeddings.token_type_embeddings,
        "bert/embeddings/LayerNorm/gamma": model.encoder.embeddings.layer_norm.gamma,
        "bert/embeddings/LayerNorm/beta": model.encoder.embeddings.layer_norm.beta,
        "bert/pooler/dense/kernel": model.encoder.pooler.kernel,
        "bert/pooler/dense/bias": model.encoder.pooler.bias,
        "global_step": np.int64(7),
        "bert/pooler/dense/bias/adam_m": np.zeros(8, np.float32),
    }
    if "masked_lm" in model.heads:
        head = model.heads["masked_lm"]
        names |= {
            "cls/predictions/transform/dense/kernel": head.transform.kernel,
            "cls/predictions/transform/dense/bias": head.transform.bias,
            "cls/predictions/transform/LayerNorm/gamma": head.transform_norm.gamma,
            "cls/predictions/transform/LayerNorm/beta": head.transform_norm.beta,
            "cls/predictions/output_bias": head.bias,
        }
    for kind, prefix in {"pair": "cls/seq_relationship/", "sequence": "", "spans": "cls/squad/"}.items():
        if kind in model.heads:
            head = model.heads[kind]
            names[f"{prefix}output_weights"] = np.asarray(head.kernel).T
            names[f"{prefix}output_bias"] = head.bias
            names[f"{prefix}output_weights/adam_v"] = np.zeros_like(names[f"{prefix}output_weights"])
    for i, block in enumerate(model.encoder.blocks):
        p = f"bert/encoder/layer_{i}"
        for theirs, layer in {
            "attention/self/query": block.attention.query,
            "attention/self/key": block.attention.key,
            "attention/self/value": block.attention.value,
            "attention/output/dense": block.attention.output_dense,
            "intermediate/dense": block.intermediate,
            "output/dense": block.output_dense,
        }.items():
            names |= {f"{p}/{theirs}/kernel": layer.kernel, f"{p}/{theirs}/bias": layer.bias}
        for theirs, layer in {"attention/output": block.attention_norm, "output": block.output_norm}.items():
            names |= {f"{p}/{theirs}/LayerNorm/gamma": layer.gamma, f"{p}/{theirs}/LayerNorm/beta": layer.beta}
    values = {name: np.asarray(value) for name, value in names.items()}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [tf.compat.v1.get_variable(name, initializer=value) for name, value in values.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(variables).save(session, str(folder / "bert_model.ckpt"))
    settings = {name: getattr(config, name) for name in config.__dataclass_fields__ if name != "layer_norm_eps"}
    (folder / "bert_config.json").write_text(json.dumps({**settings, "hidden_act": "gelu"}))
    (folder / "vocab.txt").write_bytes(VOCABULARY.serialize())
