"""Text to finished shards: speed, memory, agreement with the reference script, padding of packed rows.

python -m benchmarks.pipeline                                 speed, agreement and packing, some 10 minutes on 2 cores
python -m benchmarks.pipeline --only memory --memory_megabytes 1000 --memory_megabytes 2000          some 12 minutes

The corpus is real English (docstrings of the installed packages), recombined paragraph by paragraph to any size. The
reference is google-research/bert's algorithm in plain Python with a plain Python tokenizer (tests/reference_*.py), one
document at a time. Absolute rates drift with the machine, ratios hardly.
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

from benchmarks import results_file
from benchmarks.shard_rows import read_rows

_ONLY = flags.DEFINE_multi_enum("only", [], ["speed", "memory", "agreement", "packing"], "What to run.")
_SIZES = flags.DEFINE_multi_float("megabytes", [40.0, 240.0], "Two sizes of input; the rate is that between them.")
_MEMORY_SIZES = flags.DEFINE_multi_float("memory_megabytes", [1000.0], "Sizes of input to take the memory of.")
_WORKERS = flags.DEFINE_integer("workers", 2, "Processes to compare with one.")
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 16_000, "Tokens of the vocabulary.")
_REFERENCE_MEGABYTES = flags.DEFINE_float("reference_megabytes", 1.0, "What the reference is timed on.")

_Figures = Iterator[tuple[str, str]]  # what was measured, and how it came out


@dataclasses.dataclass
class Run:
    """One job, start-up included."""

    seconds: float
    peak_gigabytes: float  # resident memory of all its processes together, shared pages counted in each


class Bench:
    """A folder with corpora of several sizes and a vocabulary."""

    def __init__(self, folder: str):
        self.folder = folder
        self.vocab = os.path.join(folder, "vocab.txt")

    def corpus(self, megabytes: float) -> str:
        from benchmarks.real_text import recombined_documents

        path = os.path.join(self.folder, f"{megabytes:.0f}.txt")
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                for text in recombined_documents(megabytes):
                    file.write(text + "\n\n")
        return path

    def texts(self, name: str, texts: Iterable[str]) -> str:
        path = os.path.join(self.folder, f"{name}.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(text + "\n\n" for text in texts)
        return path

    def learn_vocabulary(self, path: str) -> None:
        arguments = ["--input", path, "--output", self.vocab, f"--vocab_size={_VOCAB_SIZE.value}"]
        subprocess.run([sys.executable, "-m", "pipelines.build_vocab", *arguments], check=True, capture_output=True)

    def job(self, path: str, name: str, *arguments: str) -> Run:
        """Runs the command on one input and watches its memory."""
        command = [sys.executable, "-m", "pipelines.create_pretraining_data", "--input", path, "--vocab", self.vocab]
        command += ["--output_dir", os.path.join(self.folder, name), "--overwrite", *arguments]
        began, peak = time.perf_counter(), 0.0
        with open(os.path.join(self.folder, "log"), "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            while process.poll() is None:
                peak = max(peak, _resident(process.pid))
                time.sleep(0.2)
        if process.returncode:
            with open(os.path.join(self.folder, "log"), encoding="utf-8") as log:
                sys.exit(log.read())
        return Run(time.perf_counter() - began, peak / 1e9)


def _resident(session: int) -> int:
    """Bytes of resident memory of all processes of a session."""
    total = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.getsid(int(name)) == session:
                with open(f"/proc/{name}/statm", encoding="ascii") as file:
                    total += int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        except OSError:
            continue  # it ended meanwhile
    return total


def _reference(bench: Bench, path: str):
    """(the reference with the vocabulary's ids, a plain Python tokenizer, documents as lists of sentences)."""
    from bert_tf.text.vocabulary import CLS, MASK, SEP, Vocabulary
    from pipelines.reading.documents import split_sentences
    from pipelines.reading.inputs import Part
    from pipelines.reading.readers import read_documents
    from tests.support import reference_instances, reference_tokenizer

    vocabulary = Vocabulary.load(bench.vocab)
    reference = reference_instances.Reference(
        cls=vocabulary[CLS], sep=vocabulary[SEP], mask=vocabulary[MASK], vocab_size=len(vocabulary)
    )
    plain = reference_tokenizer.Reference(lower_case=True)
    documents = [split_sentences(text) for text in dict.fromkeys(read_documents(Part(path)))]
    return reference, lambda sentence: plain.tokenize(sentence, vocabulary.ids), documents


def speed(bench: Bench) -> _Figures:
    small, large = (bench.corpus(size) for size in _SIZES.value)
    low, high = _SIZES.value
    runs = {}
    for workers in (1, _WORKERS.value):
        flag = f"--direct_num_workers={workers}"
        runs[workers] = [bench.job(path, "out", flag) for path in (small, large)]
    one, many = runs[1], runs[_WORKERS.value]
    rates = {n: (high - low) / (r[1].seconds - r[0].seconds) for n, r in runs.items()}
    start_up = one[0].seconds - low / rates[1]
    sizes = f"{low:.0f} and {high:.0f} MB"
    told = (
        f"{one[0].seconds:.1f} and {one[1].seconds:.1f} s: {rates[1]:.2f} MB/s between them, start-up {start_up:.1f} s"
    )
    yield f"one process, {sizes}", told
    told = f"{rates[_WORKERS.value]:.2f} MB/s, {rates[_WORKERS.value] / rates[1]:.2f} times one"
    told += f" ({one[1].seconds / many[1].seconds:.2f} with start-up)"
    yield f"{_WORKERS.value} processes, {sizes}", f"{many[0].seconds:.1f} and {many[1].seconds:.1f} s: {told}"
    for count, found in runs.items():
        yield f"memory of all processes, {count} of them, {high:.0f} MB", f"{found[1].peak_gigabytes:.2f} GB"

    import tensorflow as tf

    reference, tokenize, documents = _reference(bench, bench.corpus(_REFERENCE_MEGABYTES.value))
    began = time.perf_counter()
    tokenized = [[ids for sentence in document if (ids := tokenize(sentence))] for document in documents]
    made = reference.instances([document for document in tokenized if document], random.Random(1))
    with tf.io.TFRecordWriter(os.path.join(bench.folder, "reference.tfrecord")) as writer:
        for instance in made:
            writer.write(_serialized(instance, reference))
    rate = _REFERENCE_MEGABYTES.value / (time.perf_counter() - began)
    told = f"{rate:.2f} MB/s; one process here is {rates[1] / rate:.0f} times as fast"
    yield "google-research/bert's algorithm in plain Python, one process", told


def _serialized(instance, reference) -> bytes:
    import tensorflow as tf

    length, predictions = reference.max_seq_length, reference.max_predictions_per_seq

    def ints(values, width):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[*values, *[0] * (width - len(values))]))

    weights = [1.0] * len(instance.masked_ids)
    weights += [0.0] * (predictions - len(weights))
    features = {
        "input_ids": ints(instance.token_ids, length),
        "input_mask": ints([1] * len(instance.token_ids), length),
        "segment_ids": ints(instance.type_ids, length),
        "masked_lm_positions": ints(instance.masked_positions, predictions),
        "masked_lm_ids": ints(instance.masked_ids, predictions),
        "masked_lm_weights": tf.train.Feature(float_list=tf.train.FloatList(value=weights)),
        "next_sentence_labels": ints([int(instance.is_random_next)], 1),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def memory(bench: Bench) -> _Figures:
    before = None
    for megabytes in _MEMORY_SIZES.value:
        flag = f"--direct_num_workers={_WORKERS.value}"
        run = bench.job(bench.corpus(megabytes), "out", flag)
        told = f"{run.peak_gigabytes:.2f} GB in {run.seconds:.0f} s"
        if before:
            grown = (run.peak_gigabytes - before[1]) / ((megabytes - before[0]) / 1000)
            told += f", {grown:+.3f} bytes for each byte of input more"
        yield f"memory of all processes, {_WORKERS.value} of them, {megabytes:,.0f} MB", told
        before = megabytes, run.peak_gigabytes


def agreement(bench: Bench) -> _Figures:
    from benchmarks import real_text

    # A document draws its target length once, so in a corpus of a few large ones nothing is independent, and the
    # reference differs from itself; docstrings are many and small.
    yield from _compare(bench, "docstrings, one document each", real_text.docstrings())
    # A chunk of one sentence, at a document's end or because a short target is reached at once, has no next sentence
    # and gets a random one: in long documents without short targets hardly any chunk is one.
    long = real_text.long_documents(10.0)
    yield from _compare(bench, "long documents, no short targets", long, short_seq_prob=0.0)


def _compare(bench: Bench, name: str, texts: Iterable[str], short_seq_prob: float = 0.1) -> _Figures:
    from scipy import stats

    from bert_tf.text.vocabulary import Vocabulary
    from bert_tf.text.wordpiece import Tokenizer

    path = bench.texts("agreement", texts)
    megabytes = os.path.getsize(path) / 1e6
    bench.job(path, "agreement", "--validation_fraction=0", f"--short_seq_prob={short_seq_prob}")
    ours = read_rows(os.path.join(bench.folder, "agreement"))
    reference, _, documents = _reference(bench, path)
    # The same tokens by the fast way; how they are made is another benchmark.
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
    for label, here, there in (
        ("instances per MB", len(lengths) / megabytes, len(theirs) / megabytes),
        ("mean length", lengths.mean(), np.mean([len(instance.token_ids) for instance in theirs])),
    ):
        yield f"{name} {label}", f"{here:.1f} / {there:.1f} ({here / there - 1:+.2%})"
    share = np.mean([instance.is_random_next for instance in theirs])
    yield f"{name} random next", f"{ours['next_sentence_labels'].mean():.4f} / {share:.4f}"
    yield f"{name} [MASK], random, kept (here only)", f"{masked:.2%}, {1 - masked - kept:.2%}, {kept:.2%}"
    test = stats.ks_2samp(first.sum(axis=1) - 2, first_lengths)
    told = f"Kolmogorov-Smirnov p = {test.pvalue:.3f}, distance {test.statistic:.4f}"
    yield f"{name} length of the first segment", told


def packing(bench: Bench) -> _Figures:
    from benchmarks.real_text import modules

    path = bench.texts("modules", modules())
    arguments = ["--max_seq_length=512", "--max_predictions_per_seq=80", "--num_shards=1", "--validation_fraction=0"]
    for pairs in ("next_sentence", "sentence_order", "none"):
        shares = []
        for name in ("unpacked", "packed"):
            bench.job(path, name, *arguments, f"--pairs={pairs}", f"--packing={name == 'packed'}")
            shares.append(1 - read_rows(os.path.join(bench.folder, name))["input_mask"].mean())
        yield f"padding at length 512, --pairs={pairs}", f"{shares[0]:.2%}, with --packing {shares[1]:.2%}"


def main(_) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        bench.learn_vocabulary(bench.corpus(_SIZES.value[0]))
        for part in (speed, agreement, packing, memory):
            if part.__name__ in (_ONLY.value or ["speed", "agreement", "packing"]):
                rows = []
                for what, figure in part(bench):
                    print(f"{what}: {figure}", flush=True)
                    rows.append({"text to shards": what, "result": figure})
                results_file.save(f"pipeline_{part.__name__}", rows)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
