"""A pretraining step of BERT base at length 128 for TPUs: this project's beside the same network in plain JAX.

python -m benchmarks.tpu_reference              needs make tpu-env; two compilations, some minutes

Both go through the same compiler for the same topology: forward and backward in bfloat16 with dropout 0.1, clipping by
the global norm, AdamW with float32 weights and slots; 64 rows a chip, 20 predictions each. The reference is written in
JAX's usual form: parameters in a pytree, a batch sharded over the devices and left to the partitioner, jax.grad,
jax.random's default generator. What is compared are the compiler's operations and bytes, and the least time of both on
the chip; nothing ran on a TPU.
"""

import json
import os
import subprocess
import sys

from absl import app, flags

from benchmarks import results_file

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Of the chips.")
_PYTHON = os.path.join(".venv-tpu", "bin", "python")
_ROWS, _LENGTH, _PREDICTIONS, _RATE = 64, 128, 20, 0.1
_WORDS, _WIDTH, _INNER, _LAYERS, _HEADS = 30522, 768, 3072, 12, 12


def reference(topology: str, generator: str) -> dict[str, float]:
    """The compiler's figures of the JAX step; runs in .venv-tpu.

    Args:
      topology: such as v5e:2x2.
      generator: of jax.random, for the dropout.
    """
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
    rows = _ROWS * len(devices)
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


def _figures(*command: str) -> dict[str, float]:
    """What a command of .venv-tpu prints last, as JSON."""
    from bert_tf.preflight.environment import ENVIRONMENT

    done = subprocess.run(
        [_PYTHON, *command], env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def _reference(topology: str, generator: str) -> dict[str, float]:
    code = "import json\nfrom benchmarks.tpu_reference import reference\n"
    return _figures("-c", code + f"print(json.dumps(reference({topology!r}, {generator!r})))")


def _ours(topology: str) -> dict[str, float]:
    config = ["--config", "configs/pretrain_base_128.py", "--set", f"train.global_batch_size={4 * _ROWS}"]
    return _figures("-m", "bert_tf.preflight", "--topology", topology, "--json", *config)


def main(_) -> None:
    from bert_tf.preflight import chips

    topology = _TOPOLOGY.value
    found = {"this project": _ours(topology)}
    for generator in ("threefry2x32", "rbg"):
        found[f"plain JAX, {generator}"] = _reference(topology, generator)
    rows, least = [], {}
    for name, figures in found.items():
        line = chips.roofline(chips.chip_of(topology), flops=figures["flops"], bytes_accessed=figures["bytes_accessed"])
        least[name] = line.seconds
        rows.append(
            {
                f"64 rows a chip, {topology}": name,
                "T operations": f"{figures['flops'] / 1e12:.3f}",
                "GB moved": f"{figures['bytes_accessed'] / 1e9:.2f}",
                "GiB of activations": f"{figures['temporary_bytes'] / 2**30:.2f}",
                "least ms: computing": f"{line.compute_seconds * 1e3:.1f}",
                "of memory": f"{line.memory_seconds * 1e3:.1f}",
                "here / there": f"{least['this project'] / line.seconds:.2f}",
            }
        )
    results_file.save("tpu_reference", rows, figures=found)


if __name__ == "__main__":
    app.run(main)
