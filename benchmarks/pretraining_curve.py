"""Trains BERT-tiny here and in transformers on PyTorch, and compares the held-out loss at equal steps.

python -m benchmarks.pretraining_curve             some 25 minutes on 2 cores

Both start from the same weights and train on the same batches, in the same order, with the same AdamW (with bias
correction, as PyTorch's) and schedule; only the dropout masks differ. Both are evaluated on the same held-out split.
"""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
from absl import app, flags

from benchmarks import real_text, results_file
from benchmarks.peers.environments import python_of, set_flags

_OUTPUT = flags.DEFINE_string(
    "output", "runs/curve", "Folder for text, shards and runs; text and vocabulary that exist are reused."
)
_MEGABYTES = flags.DEFINE_float("megabytes", 20.0, "Size of the training text.")
_STEPS = flags.DEFINE_integer("steps", 1800, "Optimizer steps of both.")
_EVERY = flags.DEFINE_integer("every", 200, "Steps between evaluations.")
_REPORT = flags.DEFINE_bool("report", False, "Only compare the evaluations that exist.")
_VOCAB_SIZE, _BATCH, _SEED, _EVALUATED = 8000, 32, 7, 2048
_RATE, _WARMUP = 5e-4, 500
COLUMNS = {
    "step": "{step}",
    "here": "{here_loss:.4f}",
    "PyTorch": "{pytorch_loss:.4f}",
    "difference": "{difference:+.2%}",
    "masked-LM accuracy here": "{here_masked_lm_accuracy:.2%}",
    "accuracy on PyTorch": "{pytorch_masked_lm_accuracy:.2%}",
}


def _command(module: str, *arguments: str) -> None:
    print(f"{module} ...", flush=True)
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


def _shards(folder: str) -> str:
    text, vocab, shards = (os.path.join(folder, name) for name in ("text.txt", "vocab.txt", "shards"))
    if not os.path.exists(text):
        with open(text, "w", encoding="utf-8") as file:
            documents = (document + "\n\n" for document in real_text.docstrings())
            file.writelines(real_text.head(documents, _MEGABYTES.value))
    if not os.path.exists(vocab):
        _command("pipelines.build_vocab", "--input", text, "--output", vocab, f"--vocab_size={_VOCAB_SIZE}")
    arguments = ["--input", text, "--vocab", vocab, "--output_dir", shards, "--validation_fraction=0.03"]
    _command("pipelines.create_pretraining_data", *arguments, "--num_shards=8", "--dupe_factor=3")
    return shards


def _start(folder: str, shards: str) -> str:
    """Writes a model directory with the initial weights of both."""
    import keras

    from bert_tf.interop import huggingface
    from bert_tf.models.bert.config import preset
    from bert_tf.models.model import make_model
    from bert_tf.text.tokenizer_config import TokenizerConfig
    from bert_tf.training.data.shard_folder import ShardFolder

    path = os.path.join(folder, "start")
    keras.utils.set_random_seed(_SEED)
    model = make_model(preset("tiny", vocab_size=_VOCAB_SIZE), {"masked_lm": {}, "pair": {}})
    opened = ShardFolder.open(shards, "shards")
    huggingface.save(
        path,
        model,
        vocabulary=opened.vocabulary,
        tokenizer=TokenizerConfig(lower_case=opened.lower_case),
        max_seq_length=128,
    )
    return path


def _dump(folder: str, shards: str) -> None:
    """Writes the batches as arrays: the peer's environment has no TensorFlow."""
    import itertools

    from bert_tf.training.data import shard_input
    from bert_tf.training.data.shard_folder import ShardFolder

    opened = ShardFolder.open(shards, "shards")
    training = shard_input.training_batches([opened], 0, global_batch_size=_BATCH, seed=_SEED)
    validation = shard_input.validation_batches([opened], "shards", global_batch_size=_BATCH, examples=_EVALUATED)
    for name, batches in (("training", itertools.islice(training, _STEPS.value)), ("validation", validation)):
        arrays: dict[str, list[np.ndarray]] = {}
        for batch in batches:
            for feature, values in batch.items():
                kind = np.float32 if values.dtype.is_floating else np.uint16
                arrays.setdefault(feature, []).append(values.numpy().astype(kind))
        np.savez(os.path.join(folder, f"{name}.npz"), **{feature: np.stack(x) for feature, x in arrays.items()})


def _ours(folder: str, shards: str, start: str) -> None:
    workdir = os.path.join(folder, "ours")
    settings = {
        "data.train": shards,
        "init_from": start,
        "optimizer.learning_rate": _RATE,
        "optimizer.warmup_steps": _WARMUP,
        "optimizer.bias_correction": "true",
        "train.steps": _STEPS.value,
        "train.seed": _SEED,
        "train.evaluate_every": _EVERY.value,
        "train.evaluate_examples": _EVALUATED,
        "train.checkpoint_every": _EVERY.value,
    }
    _command("bert_tf.pretrain", "--config", "configs/pretrain_tiny.py", "--workdir", workdir, *set_flags(settings))


def main(_) -> None:
    folder = _OUTPUT.value
    os.makedirs(folder, exist_ok=True)
    if not _REPORT.value:
        shards = _shards(folder)
        start = _start(folder, shards)
        _dump(folder, shards)
        shutil.rmtree(os.path.join(folder, "ours"), ignore_errors=True)  # a finished run would not train again
        arguments = [folder, start, os.path.join(folder, "torch.jsonl")]
        arguments += map(str, (_STEPS.value, _EVERY.value, _RATE, _WARMUP))
        # Both run at the same time, since the results are losses at equal steps, not times.
        peer = subprocess.Popen([python_of("torch"), "-m", "benchmarks.peers.torch_curve", *arguments])
        _ours(folder, shards, start)
        if peer.wait():
            sys.exit("the peer failed")
    _compare(folder)


def _compare(folder: str) -> None:
    from bert_tf.core.metrics_file import read_metrics

    ours = [line for line in read_metrics(os.path.join(folder, "ours")) if line["split"] == "validation"]
    with open(os.path.join(folder, "torch.jsonl"), encoding="utf-8") as file:
        theirs = [json.loads(line) for line in file]
    by_step = {line["step"]: line for line in theirs}
    rows = [row(here, by_step[here["step"]]) for here in ours if here["step"] in by_step]
    if rows:
        results_file.save("pretraining_curve", COLUMNS, rows)
        _draw(ours, theirs)


def row(here: dict, there: dict) -> results_file.Row:
    """The evaluations of both at one step."""
    values = {f"here_{name}": value for name, value in here.items() if name not in ("step", "split")}
    values |= {f"pytorch_{name}": value for name, value in there.items() if name != "step"}
    values["difference"] = here["loss"] / there["loss"] - 1
    return results_file.row({"step": str(here["step"])}, **values)


def _draw(ours: list[dict], theirs: list[dict]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for name, lines, style in (("bert_tf", ours, "o-"), ("transformers on PyTorch", theirs, "x--")):
        axis.plot([line["step"] for line in lines], [line["loss"] for line in lines], style, label=name)
    axis.set_xlabel("step")
    axis.set_ylabel("held-out loss, nats")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(results_file.IMAGES / "pretraining_curve.png", dpi=100)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
