"""From raw text to a served BERT on this machine, stage by stage, each the command that a user would type.

python -m quickstart.run --workdir runs/quickstart

A stage that is finished, with the same command and after the same earlier stages, is reused; --fresh starts over.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

from absl import flags

from bert_tf.core import command, whole_file
from bert_tf.core.errors import InputError

_VOCAB_SIZE = 8_000


class Stage(NamedTuple):
    """One command and what it makes."""

    name: str
    arguments: list[str]
    output: str
    resumable: bool = False  # the command itself takes up what a killed one left


def stages(workdir: str) -> list[Stage]:
    """All stages in order."""
    corpus, vocab, shards, pretrain, finetune, models = (
        os.path.join(workdir, name) for name in ("corpus", "vocab.txt", "shards", "pretrain", "finetune", "models")
    )
    documents = ["--input", os.path.join(corpus, "corpus-*.jsonl")]
    two_workers = ["--direct_num_workers=2"]
    return [
        Stage("gather", ["-m", "quickstart.corpus", "--output", corpus], corpus),
        Stage(
            "vocabulary",
            [
                "-m",
                "pipelines.build_vocab",
                *documents,
                "--output",
                vocab,
                f"--vocab_size={_VOCAB_SIZE}",
                *two_workers,
            ],
            vocab,
        ),
        Stage(
            "shards",
            ["-m", "pipelines.create_pretraining_data", *documents, "--vocab", vocab, "--output_dir", shards]
            + ["--num_shards=8", *two_workers],
            shards,
            resumable=True,
        ),
        Stage(
            "pretrain",
            ["-m", "bert_tf.pretrain", "--config", "configs/pretrain_tiny.py", "--workdir", pretrain]
            + ["--set", f"data.train={shards}"],
            pretrain,
            resumable=True,
        ),
        Stage(
            "fine-tune",
            [
                "-m",
                "bert_tf.finetune",
                "--config",
                "configs/finetune_classification.py",
                "--workdir",
                finetune,
            ]
            + ["--set", f"init_from={pretrain}/model"]
            + ["--set", f"data.train={corpus}/labels-train.jsonl"]
            + ["--set", f"data.validation={corpus}/labels-validation.jsonl"],
            finetune,
            resumable=True,
        ),
        Stage(
            "export",
            ["-m", "bert_tf.export", "--model", f"{finetune}/model", "--output", f"{models}/docstrings"],
            models,
        ),
        Stage(
            "ask",
            ["quickstart/ask.py", f"{models}/docstrings/1", os.path.join(workdir, "answers.json")],
            os.path.join(workdir, "answers.json"),
        ),
    ]


def run_stage(stage: Stage, workdir: str, *, reuse: bool) -> tuple[float, bool]:
    """Runs a stage unless it is finished. Returns (its seconds, whether it was reused)."""
    marker = os.path.join(workdir, "finished", f"{stage.name}.json")
    known = None
    if os.path.exists(marker):
        with open(marker, encoding="utf-8") as file:
            known = json.load(file)
    same = known is not None and known["arguments"] == stage.arguments
    if reuse and same and known["seconds"] is not None and os.path.exists(stage.output):
        print(f"[{stage.name}] reusing {stage.output}, made before in {known['seconds']:.0f} s", flush=True)
        return known["seconds"], True
    if not (stage.resumable and reuse and same):
        _remove(stage.output)
    whole_file.write_json(marker, {"arguments": stage.arguments, "seconds": None})
    print(f"\n[{stage.name}] $ python {shlex.join(stage.arguments)}", flush=True)
    started = time.monotonic()
    code = subprocess.run([sys.executable, *stage.arguments], check=False).returncode
    if code:
        command.fail(f"stage {stage.name} ended with code {code}; the same command takes up from here.")
    seconds = time.monotonic() - started
    whole_file.write_json(marker, {"arguments": stage.arguments, "seconds": seconds})
    return seconds, False


def closing_table(workdir: str, seconds: dict[str, float]) -> str:
    """What was made, how well it does, how long it took and where it lies."""
    dataset = _read_json(workdir, "shards", "dataset.json")
    with open(os.path.join(workdir, "pretrain", "metrics.jsonl"), encoding="utf-8") as file:
        held_out = [line for line in map(json.loads, file) if line["split"] == "validation"]
    start, end = held_out[0], held_out[-1]
    classifier = _read_json(workdir, "finetune", "evaluation.json")
    counts = dataset["counts"]
    rows = [
        ("documents", f"{counts['passes_over_documents']:,}"),
        ("tokens", f"{counts['tokens']:,}"),
        ("pretraining examples", f"{counts['instances']:,}"),
        ("held-out loss", f"{start['loss']:.3f} -> {end['loss']:.3f} in {end['step']} steps"),
        ("held-out masked-LM loss", f"{start['masked_lm_loss']:.3f} -> {end['masked_lm_loss']:.3f} nats"),
        (
            "held-out masked-LM accuracy",
            f"{start['masked_lm_accuracy']:.1%} -> {end['masked_lm_accuracy']:.1%}",
        ),
        (
            "classifier accuracy",
            f"{classifier['accuracy']:.1%} on {classifier['examples']} held-out docstrings",
        ),
        ("majority-class baseline", f"{classifier['majority_baseline']:.1%}"),
        *((f"seconds, {name}", f"{value:.0f}") for name, value in seconds.items()),
        ("seconds, all", f"{sum(seconds.values()):.0f}"),
        ("corpus and labels", os.path.join(workdir, "corpus")),
        ("vocabulary", os.path.join(workdir, "vocab.txt")),
        ("shards", os.path.join(workdir, "shards")),
        ("pretrained model", os.path.join(workdir, "pretrain", "model")),
        ("TensorBoard events", os.path.join(workdir, "pretrain", "events")),
        ("classifier", os.path.join(workdir, "finetune", "model")),
        ("SavedModel", os.path.join(workdir, "models", "docstrings", "1")),
    ]
    answers = [
        (a["label"], f"{a['probability']:.1%}  {a['question']}") for a in _read_json(workdir, "answers.json")["answers"]
    ]
    lines = [f"{name:<30}{value}" for name, value in rows]
    return "\n".join([*lines, "", "Answers of the SavedModel:", *(f"  {label:<16}{text}" for label, text in answers)])


def run(workdir: str, *, fresh: bool) -> str:
    """Runs every stage and returns the closing table."""
    marker = os.path.join(workdir, "finished", "gather.json")  # of the first stage
    is_folder = os.path.isdir(workdir) or not os.path.exists(workdir)
    if not is_folder or (os.path.isdir(workdir) and os.listdir(workdir) and not os.path.exists(marker)):
        raise InputError(f"--workdir {workdir}: expected an empty folder, or one of an earlier quickstart.")
    if fresh:
        print(f"starting over: removing {workdir}", flush=True)
        shutil.rmtree(workdir, ignore_errors=True)
    os.makedirs(os.path.join(workdir, "finished"), exist_ok=True)
    seconds = {}
    reuse = True
    for stage in stages(workdir):
        # What follows a stage that was made anew is made anew as well; an interrupted stage keeps its own work.
        seconds[stage.name], reused = run_stage(stage, workdir, reuse=reuse)
        reuse = reused
    return closing_table(workdir, seconds)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def _read_json(*parts: str) -> dict:
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return json.load(file)


def main(_) -> None:
    print("\n" + run(flags.FLAGS.workdir, fresh=flags.FLAGS.fresh))
    print("\nRun again to reuse what is finished; make quickstart FRESH=1 starts over.")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/quickstart", "Where everything goes.")
    flags.DEFINE_bool("fresh", False, "Start over.")
    command.run(main)
