"""Measures text to shards: speed, memory, agreement with the reference script, padding of packed rows.

python -m benchmarks.pipeline                                 speed, agreement and packing, some 10 minutes on 2 cores
python -m benchmarks.pipeline --only memory --memory_megabytes 1000 --memory_megabytes 2000          some 12 minutes

The corpus is real English (docstrings of the installed packages), recombined paragraph by paragraph to any size. The
reference is google-research/bert's algorithm in plain Python with a plain Python tokenizer, one document at a time
(tests/support/reference_*.py). Absolute rates drift with the machine, ratios hardly.
"""

import dataclasses
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator

import numpy as np
from absl import app, flags

from benchmarks import real_text, results_file
from benchmarks.peers.measured_process import measure
from benchmarks.shard_rows import read_rows

_ONLY = flags.DEFINE_multi_enum("only", [], ["speed", "memory", "agreement", "packing"], "Measurements to run.")
_SIZES = flags.DEFINE_multi_float(
    "megabytes", [40.0, 240.0], "Two sizes of input; the rate is their difference by that of the times."
)
_MEMORY_SIZES = flags.DEFINE_multi_float("memory_megabytes", [1000.0], "Sizes of input to measure the memory at.")
_WORKERS = flags.DEFINE_integer("workers", 2, "Processes to compare with one.")
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 16_000, "Size of the vocabulary.")
_REFERENCE_MEGABYTES = flags.DEFINE_float("reference_megabytes", 1.0, "Input that the reference is timed on.")

_Lines = Iterator[results_file.Row]


class Bench:
    """A folder with corpora of several sizes and a vocabulary."""

    def __init__(self, folder: str):
        self.folder = folder
        self.vocab = os.path.join(folder, "vocab.txt")

    def corpus(self, megabytes: float) -> str:
        path = os.path.join(self.folder, f"{megabytes:.0f}.txt")
        if os.path.exists(path):
            return path
        return self.texts(f"{megabytes:.0f}", real_text.recombined_documents(megabytes))

    def texts(self, name: str, texts: Iterable[str]) -> str:
        path = os.path.join(self.folder, f"{name}.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(text + "\n\n" for text in texts)
        return path

    def learn_vocabulary(self, path: str) -> None:
        arguments = ["--input", path, "--output", self.vocab, f"--vocab_size={_VOCAB_SIZE.value}"]
        subprocess.run([sys.executable, "-m", "pipelines.build_vocab", *arguments], check=True, capture_output=True)

    def job(self, path: str, name: str, *arguments: str) -> dict[str, float]:
        """Runs pipelines.create_pretraining_data on one input; see measured_process."""
        return measure(
            "pipelines.create_pretraining_data",
            *("--input", path, "--vocab", self.vocab, "--output_dir", os.path.join(self.folder, name), "--overwrite"),
            *arguments,
        )


def _reference(bench: Bench, path: str, *, lossless: bool = False):
    """(the reference with the vocabulary's ids, a plain Python tokenizer, documents as lists of sentences).

    Args:
      bench, path: the vocabulary and the text.
      lossless: with this project's differences from google-research/bert.
    """
    from bert_tf.text.vocabulary import CLS, MASK, SEP, Vocabulary
    from pipelines.reading.inputs import Part
    from pipelines.reading.readers import read_documents
    from pipelines.reading.sentences import split_sentences
    from tests.support import reference_instances, reference_tokenizer

    vocabulary = Vocabulary.load(bench.vocab)
    ids = {"cls": vocabulary[CLS], "sep": vocabulary[SEP], "mask": vocabulary[MASK], "vocab_size": len(vocabulary)}
    if lossless:
        begins_word = [not token.startswith("##") for token in vocabulary.tokens]
        reference = reference_instances.LosslessReference(**ids, begins_word=begins_word.__getitem__)
    else:
        reference = reference_instances.Reference(**ids)
    plain = reference_tokenizer.Reference(lower_case=True)
    documents = [split_sentences(text) for text in dict.fromkeys(read_documents(Part(path)))]
    return reference, lambda sentence: plain.tokenize(sentence, vocabulary.ids), documents


def speed(bench: Bench) -> _Lines:
    import tensorflow as tf

    low, high = _SIZES.value
    times, peaks = {}, {}
    for workers in (1, _WORKERS.value):
        flag = f"--direct_num_workers={workers}"
        small, large = (bench.job(bench.corpus(size), "out", flag) for size in (low, high))
        times[workers] = {"small_seconds": small["seconds"], "large_seconds": large["seconds"]}
        times[workers]["megabytes_per_second"] = (high - low) / (large["seconds"] - small["seconds"])
        peaks[workers] = large["peak_gigabytes"]
    one, many = times[1], times[_WORKERS.value]
    sizes = f"{low:.0f} and {high:.0f} MB"
    text = "{small_seconds:.1f} and {large_seconds:.1f} s: {megabytes_per_second:.2f} MB/s"
    start_up = one["small_seconds"] - low / one["megabytes_per_second"]
    ending = " between them, start-up {start_up_seconds:.1f} s"
    yield results_file.line(f"one process, {sizes}", text + ending, **one, start_up_seconds=start_up)
    ratios = {
        "times one": many["megabytes_per_second"] / one["megabytes_per_second"],
        "times one with start-up": one["large_seconds"] / many["large_seconds"],
    }
    ending = ", {times one:.2f} times one ({times one with start-up:.2f} with start-up)"
    yield results_file.line(f"{_WORKERS.value} processes, {sizes}", text + ending, **many, ratios=ratios)
    for count, peak in peaks.items():
        label = f"memory of all processes, {count} of them, {high:.0f} MB"
        yield results_file.line(label, "{peak_gigabytes:.2f} GB", peak_gigabytes=peak)
    reference, tokenize, documents = _reference(bench, bench.corpus(_REFERENCE_MEGABYTES.value))
    began = time.perf_counter()
    tokenized = [[ids for sentence in document if (ids := tokenize(sentence))] for document in documents]
    made = reference.instances([document for document in tokenized if document], random.Random(1))
    with tf.io.TFRecordWriter(os.path.join(bench.folder, "reference.tfrecord")) as writer:
        for instance in made:
            writer.write(_serialized(instance, reference))
    rate = _REFERENCE_MEGABYTES.value / (time.perf_counter() - began)
    yield results_file.line(
        "google-research/bert's algorithm in plain Python, one process",
        "{megabytes_per_second:.2f} MB/s; one process here is {here / reference:.0f} times as fast",
        megabytes_per_second=rate,
        ratios={"here / reference": one["megabytes_per_second"] / rate},
    )


def _serialized(instance, reference) -> bytes:
    import tensorflow as tf

    def padded(values, length):
        return [*values, *[0] * (length - len(values))]

    length, predictions = reference.max_seq_length, reference.max_predictions_per_seq
    weights = padded([1.0] * len(instance.masked_ids), predictions)
    integers = {
        "input_ids": padded(instance.token_ids, length),
        "input_mask": padded([1] * len(instance.token_ids), length),
        "segment_ids": padded(instance.type_ids, length),
        "masked_lm_positions": padded(instance.masked_positions, predictions),
        "masked_lm_ids": padded(instance.masked_ids, predictions),
        "next_sentence_labels": [int(instance.is_random_next)],
    }
    features = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=x)) for name, x in integers.items()}
    features["masked_lm_weights"] = tf.train.Feature(float_list=tf.train.FloatList(value=weights))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def memory(bench: Bench) -> _Lines:
    before = None
    for megabytes in _MEMORY_SIZES.value:
        values = bench.job(bench.corpus(megabytes), "out", f"--direct_num_workers={_WORKERS.value}")
        text, peak = "{peak_gigabytes:.2f} GB in {seconds:.0f} s", values["peak_gigabytes"]
        if before:
            text += ", {bytes_per_input_byte:+.3f} bytes for each byte of input more"
            values["bytes_per_input_byte"] = (peak - before[1]) / ((megabytes - before[0]) / 1000)
        label = f"memory of all processes, {_WORKERS.value} of them, {megabytes:,.0f} MB"
        yield results_file.line(label, text, **values)
        before = megabytes, peak


def agreement(bench: Bench) -> _Lines:
    # A document draws its target length once, so the instances of a few large documents are not independent, and even
    # two runs of the reference differ. Docstrings are many and small.
    yield from _compare(bench, "docstrings, one document each", real_text.docstrings())
    # A chunk of one sentence (at a document's end, or with a short target length) always gets a random next sentence.
    # Long documents without short targets have hardly any such chunk.
    long = real_text.long_documents(10.0)
    yield from _compare(bench, "long documents, no short targets", long, short_seq_prob=0.0)


def _compare(bench: Bench, name: str, texts: Iterable[str], short_seq_prob: float = 0.1) -> _Lines:
    from scipy import stats

    from bert_tf.text.vocabulary import Vocabulary
    from bert_tf.text.wordpiece import Tokenizer

    path = bench.texts("agreement", texts)
    megabytes = os.path.getsize(path) / 1e6
    bench.job(path, "agreement", "--validation_fraction=0", f"--short_seq_prob={short_seq_prob}")
    ours = read_rows(os.path.join(bench.folder, "agreement"))
    reference, _, documents = _reference(bench, path, lossless=True)
    # The fast tokenizer gives the reference the same tokens in less time; agreement is about instances.
    tokenizer = Tokenizer(Vocabulary.load(bench.vocab))
    tokenized = [[ids for ids in tokenizer.tokenize(sentences).to_list() if ids] for sentences in documents]
    reference = dataclasses.replace(reference, short_seq_prob=short_seq_prob)
    theirs = reference.instances([document for document in tokenized if document], random.Random(2))

    lengths, first = ours["input_mask"].sum(axis=1), (ours["input_type_ids"] == 0) & (ours["input_mask"] == 1)
    weights = ours["masked_lm_weights"] == 1
    now = np.take_along_axis(ours["input_word_ids"], ours["masked_lm_positions"], axis=1)[weights]
    masked, kept = (now == reference.mask).mean(), (now == ours["masked_lm_ids"][weights]).mean()
    first_lengths = [instance.first_length for instance in theirs]
    name = f"{name}: here / reference,"
    text = "{here:.1f} / {reference:.1f} ({difference:+.2%})"
    for label, here, there in (
        ("instances per MB", len(lengths) / megabytes, len(theirs) / megabytes),
        ("mean length", lengths.mean(), np.mean([len(instance.token_ids) for instance in theirs])),
    ):
        yield results_file.line(f"{name} {label}", text, here=here, reference=there, difference=here / there - 1)
    here, there = ours["next_sentence_labels"].mean(), np.mean([instance.is_random_next for instance in theirs])
    yield results_file.line(f"{name} random next", "{here:.4f} / {reference:.4f}", here=here, reference=there)
    label, text = f"{name} [MASK], random, kept (here only)", "{masked:.2%}, {random:.2%}, {kept:.2%}"
    yield results_file.line(label, text, masked=masked, random=1 - masked - kept, kept=kept)
    test = stats.ks_2samp(first.sum(axis=1) - 2, first_lengths)
    text = "Kolmogorov-Smirnov p = {p:.3f}, distance {distance:.4f}"
    yield results_file.line(f"{name} length of the first segment", text, p=test.pvalue, distance=test.statistic)


def packing(bench: Bench) -> _Lines:
    path = bench.texts("modules", real_text.modules())
    arguments = ["--max_seq_length=512", "--max_predictions_per_seq=80", "--num_shards=1", "--validation_fraction=0"]
    for pairs in ("next_sentence", "sentence_order", "none"):
        padding = {}
        for name in ("unpacked", "packed"):
            bench.job(path, name, *arguments, f"--pairs={pairs}", f"--packing={name == 'packed'}")
            padding[name] = 1 - read_rows(os.path.join(bench.folder, name))["input_mask"].mean()
        text = "{unpacked:.2%}, with --packing {packed:.2%}"
        yield results_file.line(f"padding at length 512, --pairs={pairs}", text, **padding)


def main(_) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        bench.learn_vocabulary(bench.corpus(_SIZES.value[0]))
        for part in (speed, agreement, packing, memory):
            if part.__name__ in (_ONLY.value or ["speed", "agreement", "packing"]):
                results_file.save_lines(f"pipeline_{part.__name__}", "text to shards", part(bench))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
