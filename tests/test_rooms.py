"""What people will add has a room each: entries that exist in this test only go from text to a served answer."""

import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from bert_tf.core.metrics_file import read_metrics
from tests.support import toy_rooms

ROOT = pathlib.Path(__file__).parent.parent
_PRETRAIN = """
from bert_tf.core.config import OptimizerConfig, PretrainConfig, TrainConfig
from tests.support.toy_rooms import MixerConfig

def get_config():
    return PretrainConfig(
        model=MixerConfig(),
        objective="half_of_the_masks",
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=5),
        train=TrainConfig(
            steps=60, global_batch_size=32, steps_per_loop=5, log_every=5, evaluate_every=30, checkpoint_every=5,
            strategy="single",
        ),
    )
"""
_FINETUNE = """
from bert_tf.core.config import OptimizerConfig, TrainConfig
from bert_tf.tasks.shared.sections import ClassDataConfig
from tests.support.toy_rooms import SurenessConfig, SurenessHeadConfig

def get_config():
    return SurenessConfig(
        data=ClassDataConfig(max_seq_length=48),
        head=SurenessHeadConfig(temperature=0.5),
        optimizer=OptimizerConfig(learning_rate=0.02, warmup_steps=5),
        train=TrainConfig(steps=120, global_batch_size=32, steps_per_loop=20, log_every=40, evaluate_every=60,
                          checkpoint_every=60, strategy="single"),
    )
"""


def command(module: str, *arguments) -> list[str]:
    """A command that knows the entries of this test."""
    return [sys.executable, "-m", "tests.support.toy_rooms", module, *map(str, arguments)]


def run(module: str, *arguments, stdin: str | None = None) -> str:
    done = subprocess.run(
        command(module, *arguments), cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Text, shards, a pretrained model whose run was killed once, and a fine-tuned one."""
    folder = tmp_path_factory.mktemp("rooms")
    rng = random.Random(1)
    words = ["table", "window", "green", "river", "stone", "cloud", "paper", "light", "seven", "north"]
    sentences = [" ".join(rng.choices(words, k=6)).capitalize() + "." for _ in range(4000)]
    documents = ["\n".join(sentences[i : i + 10]) for i in range(0, len(sentences), 10)]
    (folder / "corpus.txt").write_text("\n\n".join(documents))
    (folder / "vocab.txt").write_bytes(toy_rooms.VOCABULARY.serialize())
    arguments = ["--input", folder / "corpus.txt", "--vocab", folder / "vocab.txt", "--output_dir", folder / "shards"]
    arguments += ["--tokenizer=letters", "--max_seq_length=48", "--max_predictions_per_seq=8", "--pairs=none"]
    run("pipelines.create_pretraining_data", *arguments, "--num_shards=2", "--validation_fraction=0.1")
    for name, text in (("pretrain.py", _PRETRAIN), ("finetune.py", _FINETUNE)):
        (folder / name).write_text(text)
    lines = {"train": 300, "validation": 60}
    for split, count in lines.items():
        labels = [rng.choice(["calm", "loud"]) for _ in range(count)]
        rows = [
            {"text": " ".join(rng.choices(words, k=3)) + (" zzz" if label == "loud" else ""), "label": label}
            for label in labels
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def pretrain(folder: pathlib.Path, workdir: str) -> list:
    return ["--config", folder / "pretrain.py", "--workdir", folder / workdir, f"--set=data.train={folder / 'shards'}"]


@pytest.fixture(scope="module")
def pretrained(folder) -> pathlib.Path:
    process = subprocess.Popen(command("bert_tf.pretrain", *pretrain(folder, "killed")), cwd=ROOT)
    checkpoints = folder / "killed" / "checkpoints"
    while process.poll() is None and not (checkpoints.is_dir() and any(checkpoints.glob("step-*.safetensors"))):
        time.sleep(0.05)
    process.kill()
    assert process.wait() != 0, "the run ended before it could be killed"
    assert "resuming at step" in run("bert_tf.pretrain", *pretrain(folder, "killed"))
    return folder / "killed" / "model"


def test_a_new_objective_and_family_go_on_bit_identically_after_a_kill(folder, pretrained):
    run("bert_tf.pretrain", *pretrain(folder, "whole"))
    whole, killed = (
        [(line["step"], line["split"], line["loss"]) for line in read_metrics(str(folder / name))]
        for name in ("whole", "killed")
    )
    assert whole == killed
    weights = [(folder / name / "model/model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    held_out = [line for line in read_metrics(str(folder / "whole")) if line["split"] == "validation"]
    assert held_out[-1]["token_loss"] < held_out[0]["token_loss"] - 0.1
    assert json.loads((pretrained / "config.json").read_text())["architectures"] == ["MixerForLM"]
    assert (pretrained / "letters.txt").read_bytes() == toy_rooms.VOCABULARY.serialize()
    assert "token_loss" in run("bert_tf.evaluate", "--workdir", folder / "whole")


def test_a_new_task_is_trained_predicted_exported_and_served(folder, pretrained):
    data = [f"--set=data.{split}={folder / f'{split}.jsonl'}" for split in ("train", "validation")]
    arguments = ["--config", folder / "finetune.py", "--workdir", folder / "sureness", *data]
    told = run("bert_tf.finetune", *arguments, f"--set=init_from={pretrained}")
    assert "right" in told
    assert json.loads((folder / "sureness/evaluation.json").read_text())["right"] > 0.9
    model = folder / "sureness" / "model"
    texts = ["green river zzz", "green river stone"]
    lines = run("bert_tf.predict", "--model", model, "--input", "-", stdin="\n".join(texts) + "\n").splitlines()
    predicted = [json.loads(line)["sureness"] for line in lines]
    assert predicted[0] > 0.5 > predicted[1]
    run("bert_tf.export", "--model", model, "--output", folder / "served" / "sureness")
    server = ["--model_name", "sureness", "--model_base_path", folder / "served/sureness"]
    process = subprocess.Popen(
        command("bert_tf.serve", *server, "--port=0", "--rest_api_port=0"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        line = next(line for line in process.stdout if "REST on" in line)
        url = re.search(r"REST on (http://\S+)", line).group(1)
        import requests

        answer = requests.post(url, json={"signature_name": "how_sure", "instances": texts}, timeout=60).json()
    finally:
        process.terminate()
        process.wait(timeout=60)
    np.testing.assert_allclose(answer["predictions"], predicted, atol=1e-5)


_LOWER = """
import sys
from tests.support import toy_rooms

toy_rooms.register()
import jax
from bert_tf.core import config_io
from bert_tf.core.config import FinetuneConfig, PretrainConfig
from bert_tf.preflight import compiling, step_inputs

folder, model = sys.argv[1:]
for name, overrides in (("pretrain", []), ("finetune", [f"init_from={model}"])):
    config = config_io.load(f"{folder}/{name}.py", overrides, PretrainConfig | FinetuneConfig)
    text = compiling.lowered_step(step_inputs.of_config(config), jax.devices("cpu"), 32).as_text()
    assert "all_reduce" in text, text[:2000]
    print(name, "lowered")
"""


def test_preflight_lowers_the_step_of_a_new_family_objective_and_task(folder, pretrained):
    """For this machine's processor, in place of the cores that the TPU compiler describes."""
    done = subprocess.run(
        [sys.executable, "-c", _LOWER, str(folder), str(pretrained)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["pretrain lowered", "finetune lowered"]
