"""A pretraining step of BERT base in plain JAX, compiled for TPUs; benchmarks/tpu_reference.py runs it in .venv-tpu.

python -m benchmarks.peers.jax_step TOPOLOGY GENERATOR          such as v5e:2x2 rbg; prints one line of JSON

JAX's usual form: parameters in a pytree, a batch sharded over the devices by the partitioner, jax.grad, jax.random.
"""

import json
import sys

ROWS, _LENGTH, _PREDICTIONS, _RATE = 64, 128, 20, 0.1  # rows a chip
_WORDS, _WIDTH, _INNER, _LAYERS, _HEADS = 30522, 768, 3072, 12, 12


def reference(topology: str, generator: str) -> dict[str, float]:
    """Operations and bytes of the compiled step; generator: of jax.random, for the dropout."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import topologies

    jax.config.update("jax_default_prng_impl", generator)

    def shape(*sizes, dtype=np.float32):
        return jax.ShapeDtypeStruct(sizes, dtype)

    def dense(inputs, outputs):
        return {"kernel": shape(inputs, outputs), "bias": shape(outputs)}

    norm = {"scale": shape(_WIDTH), "bias": shape(_WIDTH)}
    block = {name: dense(_WIDTH, _WIDTH) for name in ("query", "key", "value", "attention_output")}
    block |= {"intermediate": dense(_WIDTH, _INNER), "output": dense(_INNER, _WIDTH)}
    block |= {"attention_norm": norm, "output_norm": norm}
    parameters = {
        "words": shape(_WORDS, _WIDTH),
        "positions": shape(512, _WIDTH),
        "types": shape(2, _WIDTH),
        "norm": norm,
        "blocks": [block] * _LAYERS,
        "pooler": dense(_WIDTH, _WIDTH),
        "next_sentence": dense(_WIDTH, 2),
        "masked_lm": dense(_WIDTH, _WIDTH) | {"norm": norm, "output_bias": shape(_WORDS)},
    }

    def product(x, layer):
        return x @ layer["kernel"].astype(jnp.bfloat16) + layer["bias"].astype(jnp.bfloat16)

    def normalized(x, layer):
        x = x.astype(jnp.float32)
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        x = (x - mean) * jax.lax.rsqrt(variance + 1e-12) * layer["scale"] + layer["bias"]
        return x.astype(jnp.bfloat16)

    def dropped(x, key):
        return jnp.where(jax.random.bernoulli(key, 1 - _RATE, x.shape), x / (1 - _RATE), 0)

    def attention(x, visible, layer, key):
        def heads(name):
            return product(x, layer[name]).reshape(*x.shape[:2], _HEADS, -1)

        scores = jnp.einsum("bqhd,bkhd->bhqk", heads("query"), heads("key")) * (_WIDTH // _HEADS) ** -0.5
        weights = jax.nn.softmax(jnp.where(visible, scores.astype(jnp.float32), -1e9))
        context = jnp.einsum("bhqk,bkhd->bqhd", dropped(weights.astype(jnp.bfloat16), key), heads("value"))
        return product(context.reshape(x.shape), layer["attention_output"])

    def encoder(p, batch, key):
        x = p["words"][batch["input_word_ids"]] + p["types"][batch["input_type_ids"]] + p["positions"][:_LENGTH]
        x = dropped(normalized(x, p["norm"]), jax.random.fold_in(key, 0))
        visible = batch["input_mask"][:, None, None, :].astype(bool)
        for number, layer in enumerate(p["blocks"]):
            keys = jax.random.split(jax.random.fold_in(key, number + 1), 3)
            attended = attention(x, visible, layer, keys[0])
            x = normalized(x + dropped(attended, keys[1]), layer["attention_norm"])
            hidden = product(jax.nn.gelu(product(x, layer["intermediate"]), approximate=False), layer["output"])
            x = normalized(x + dropped(hidden, keys[2]), layer["output_norm"])
        return x

    def cross_entropy(logits, labels):
        return -jnp.take_along_axis(jax.nn.log_softmax(logits.astype(jnp.float32)), labels[..., None], -1)[..., 0]

    def loss(p, batch, key):
        x = encoder(p, batch, key)
        pooled = jnp.tanh(product(x[:, 0], p["pooler"]))
        following = cross_entropy(product(pooled, p["next_sentence"]), batch["next_sentence_labels"])
        masked = jnp.take_along_axis(x, batch["masked_lm_positions"][..., None], axis=1)
        masked = normalized(jax.nn.gelu(product(masked, p["masked_lm"]), approximate=False), p["masked_lm"]["norm"])
        logits = masked @ p["words"].T.astype(jnp.bfloat16) + p["masked_lm"]["output_bias"].astype(jnp.bfloat16)
        weights = batch["masked_lm_weights"]
        words = (cross_entropy(logits, batch["masked_lm_ids"]) * weights).sum() / weights.sum()
        return words + following.mean()

    def step(p, first, second, batch, number):
        value, gradients = jax.value_and_grad(loss)(p, batch, jax.random.fold_in(jax.random.key(0), number))
        norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradients)))
        count = number.astype(jnp.float32) + 1
        rate = 1e-4 * jnp.minimum(count / 10_000, (900_000 - count) / 890_000)

        def update(w, m, v, g):
            g = g * jnp.minimum(1.0, 1.0 / norm)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            decay = 0.01 if w.ndim > 1 else 0.0
            return w - rate * (m / (jnp.sqrt(v) + 1e-6) + decay * w), m, v

        updated = jax.tree.map(update, p, first, second, gradients)
        return *(jax.tree.map(lambda _, new, n=n: new[n], p, updated) for n in range(3)), value

    devices = np.array(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    mesh = jax.sharding.Mesh(devices, ("data",))
    whole, parted = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in ((), ("data",)))
    rows = ROWS * len(devices)
    integer = {"dtype": np.int32}
    batch = {name: shape(rows, _LENGTH, **integer) for name in ("input_word_ids", "input_mask", "input_type_ids")}
    batch |= {name: shape(rows, _PREDICTIONS, **integer) for name in ("masked_lm_positions", "masked_lm_ids")}
    batch |= {"masked_lm_weights": shape(rows, _PREDICTIONS), "next_sentence_labels": shape(rows, **integer)}
    compiled = (
        jax.jit(step, in_shardings=(whole, whole, whole, parted, whole), donate_argnums=(0, 1, 2))
        .lower(parameters, parameters, parameters, batch, shape(**integer))
        .compile()
    )
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    return {
        "flops": cost["flops"],
        "bytes_accessed": cost["bytes accessed"],
        "temporary_bytes": memory.temp_size_in_bytes,
    }


if __name__ == "__main__":
    print(json.dumps(reference(*sys.argv[1:])))
