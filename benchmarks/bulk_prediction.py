"""Measures bulk prediction: 100,000 texts, killed twice, against bert_tf.predict and a plain loop over the SavedModel.

python -m benchmarks.bulk_prediction                                                     some 5 minutes on 2 cores
python -m benchmarks.bulk_prediction --beam=--runner=FlinkRunner --beam=--flink_master=localhost:8081 \
    --beam=--environment_type=LOOPBACK

The texts are lines of docstrings; the model has random weights, 2 layers of width 64, rows of 32 tokens. CPU seconds
are user and system time of all processes: they depend less than seconds on what else the machine does. Rates are
those between two sizes, so that they leave start-up out.
"""

import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from absl import app, flags

from benchmarks import real_text, results_file

_TEXTS = flags.DEFINE_integer("texts", 100_000, "Texts to answer.")
_FEW = flags.DEFINE_integer("few_texts", 10_000, "Texts of the smaller run, for the start-up.")
_BEAM = flags.DEFINE_multi_string("beam", [], "An option of Beam for the jobs. May be repeated.")
_SHARDS = 50
_BATCH = 64
_KILLS = 2


class Seconds(NamedTuple):
    """What a run took."""

    elapsed: float
    cpu: float


def _cpu() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


class Bench:
    """A folder with texts and a model."""

    def __init__(self, folder: pathlib.Path):
        from bert_tf.serving.export import saved_model
        from tests.support import served_models

        self.folder = folder
        lines = (line.strip() for text in real_text.docstrings() for line in text.split("\n"))
        self.texts = [line for line, _ in zip(filter(None, lines), range(_TEXTS.value), strict=False)]
        if len(self.texts) < _TEXTS.value:
            sys.exit(f"--texts must be at most {len(self.texts)}. Received: {_TEXTS.value}.")
        self.file, self.few = (self._write(count) for count in (_TEXTS.value, _FEW.value))
        sizes = {"hidden_size": 64, "intermediate_size": 256}
        served_models.write(str(folder / "model"), "classification", **sizes)
        self.version = saved_model.export(str(folder / "model"), str(folder / "served"))

    def _write(self, count: int) -> str:
        path = self.folder / f"{count}.txt"
        path.write_text("".join(f"{text}\n" for text in self.texts[:count]), encoding="utf-8")
        return str(path)

    def job(self, file: str, output: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "pipelines.predict", "--model", self.version, "--input", file, *arguments]
        command += ["--output", str(self.folder / output), f"--examples_per_shard={-(-_TEXTS.value // _SHARDS)}"]
        log = open(self.folder / f"{output}.log", "a")  # noqa: SIM115 - the process has it
        return subprocess.Popen([*command, *_BEAM.value], stdout=log, stderr=log, start_new_session=True)

    def finish(self, file: str, output: str, *arguments: str) -> Seconds:
        began, cpu = time.perf_counter(), _cpu()
        if self.job(file, output, *arguments).wait():
            sys.exit((self.folder / f"{output}.log").read_text())
        return Seconds(time.perf_counter() - began, _cpu() - cpu)

    def answers(self, output: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / output).glob("predictions-*"))}


def kill_and_finish(bench: Bench) -> tuple[dict[str, bytes], list[int]]:
    """The answers of a job that is killed with SIGKILL, each time when it has made some more shards; and how many."""
    seen, done = [], bench.folder / "killed"
    for kill in range(_KILLS):
        wanted = (kill + 1) * _SHARDS // (_KILLS + 1)
        process = bench.job(bench.file, "killed")
        while len(list(done.glob("predictions-*.jsonl"))) < wanted:
            if process.poll() is not None:
                sys.exit((bench.folder / "killed.log").read_text())
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen.append(len(list(done.glob("predictions-*.jsonl"))))
    bench.finish(bench.file, "killed")
    return bench.answers("killed"), seen


def compare(bench: Bench, answers: dict[str, bytes]) -> tuple[int, float]:
    """How many labels differ from bert_tf.predict's, and by how much probabilities do."""
    command = [sys.executable, "-m", "bert_tf.predict", "--model", str(bench.folder / "model"), "--input", bench.file]
    expected = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = b"".join(answers.values()).decode().splitlines()
    differ, worst = 0, 0.0
    for ours, theirs in zip(map(json.loads, found), map(json.loads, expected), strict=True):
        differ += ours["text"] != theirs["text"] or ours["label"] != theirs["label"]
        for label, probability in zip(ours["labels"], ours["probabilities"], strict=True):
            worst = max(worst, abs(probability - theirs["probabilities"][label]))
    return differ, worst


def plain_loop(bench: Bench, count: int) -> Seconds:
    """Batches in the order of the file, one after another, written as JSON lines."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the tokenizer's ops

    serve = tf.saved_model.load(bench.version).signatures["serving_default"]
    serve(text=tf.constant(bench.texts[:_BATCH]))
    began, cpu = time.perf_counter(), time.process_time()
    with open(bench.folder / "loop.jsonl", "w", encoding="utf-8") as file:
        for start in range(0, count, _BATCH):
            texts = bench.texts[start : start + _BATCH]
            found = {name: value.numpy().tolist() for name, value in serve(text=tf.constant(texts)).items()}
            for row, text in enumerate(texts):
                label, labels = found["label"][row].decode(), [name.decode() for name in found["labels"][row]]
                answer = {"text": text, "label": label, "probabilities": found["probabilities"][row], "labels": labels}
                file.write(json.dumps(answer, ensure_ascii=False) + "\n")
    return Seconds(time.perf_counter() - began, time.process_time() - cpu)


def lines(bench: Bench) -> Iterator[results_file.Row]:
    count, few = _TEXTS.value, _FEW.value
    text = "{seconds:.1f} s and {cpu_seconds:.1f} CPU seconds: {texts_per_cpu_second:,.0f} texts a CPU second"
    loop = plain_loop(bench, count)
    loop_rate = count / loop.cpu
    yield results_file.line(
        f"plain loop over the SavedModel, {count:,} texts, without start-up",
        text,
        seconds=loop.elapsed,
        cpu_seconds=loop.cpu,
        texts_per_cpu_second=loop_rate,
    )
    whole = bench.finish(bench.file, "whole")
    small = bench.finish(bench.few, "small")
    rate = (count - few) / (whole.cpu - small.cpu)
    yield results_file.line(
        f"pipelines.predict, one process, {count:,} texts, with start-up",
        text + " behind start-up, {job / loop:.2f} times the loop",
        seconds=whole.elapsed,
        cpu_seconds=whole.cpu,
        texts_per_cpu_second=rate,
        ratios={"job / loop": rate / loop_rate},
    )
    start_up = small.cpu - few / rate
    yield results_file.line("its start-up", "{cpu_seconds:.1f} CPU seconds", cpu_seconds=start_up)
    two = bench.finish(bench.file, "two", "--direct_num_workers=2")
    same = bench.answers("two") == bench.answers("whole")
    yield results_file.line(
        "two processes",
        "{seconds:.1f} s and {cpu_seconds:.1f} CPU seconds; shards of other bytes: {different_shards:.0f}",
        seconds=two.elapsed,
        cpu_seconds=two.cpu,
        different_shards=0 if same else _different(bench.answers("two"), bench.answers("whole")),
    )
    killed, seen = kill_and_finish(bench)
    yield results_file.line(
        "killed twice with SIGKILL, then finished",
        "with {first_kill:.0f} and {second_kill:.0f} of {shards:.0f} shards; shards of other bytes: "
        "{different_shards:.0f}",
        first_kill=seen[0],
        second_kill=seen[1],
        shards=len(killed),
        different_shards=_different(killed, bench.answers("whole")),
    )
    differ, worst = compare(bench, killed)
    yield results_file.line(
        "its answers and bert_tf.predict's",
        "{different_labels:.0f} of {texts:,.0f} texts have another label; probabilities differ by {worst:.1e} at most",
        different_labels=differ,
        texts=count,
        worst=worst,
    )


def _different(found: dict[str, bytes], expected: dict[str, bytes]) -> int:
    return sum(found.get(name) != expected.get(name) for name in {*found, *expected})


def main(_) -> None:
    folder = tempfile.mkdtemp()
    try:
        results_file.save_lines("bulk_prediction", "bulk prediction", lines(Bench(pathlib.Path(folder))))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    app.run(main)
