import dataclasses
import gzip
import hashlib
import json
import pathlib
import random
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bert_tf.core import records
from bert_tf.core.errors import InputError
from pipelines.filtering.cleaning import DocumentConfig
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig, pools_of, settle_shards
from pipelines.jobs.pretraining_data import create_pretraining_data
from pipelines.reading import inputs
from pipelines.reading.documents import document_id
from pipelines.reading.inputs import Part
from pipelines.reading.readers import read_documents
from pipelines.writing.report import summary

CONFIG = JobConfig(
    instances=InstanceConfig(max_seq_length=64, max_predictions_per_seq=10), num_shards=3, validation_fraction=0.05
)


def make(corpus, vocab, output, *, config=CONFIG, pattern="[0-9].txt", **kwargs) -> dict:
    return create_pretraining_data(
        input_patterns=[str(corpus / pattern)], vocab=str(vocab), output_dir=str(output), config=config, **kwargs
    )


def shard_bytes(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("pretrain-*"))}


def decoded(folder: pathlib.Path, split: str, layout=CONFIG.instances.layout) -> dict[str, np.ndarray]:
    paths = [str(path) for path in sorted(folder.glob(f"pretrain-{split}*"))]
    batch = next(iter(tf.data.TFRecordDataset(paths).batch(100_000)))
    return {name: x.numpy() for name, x in records.parse(batch, layout).items()}


def test_two_processes_write_the_same_bytes(shards, corpus, corpus_vocab, tmp_path):
    arguments = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    make(corpus, corpus_vocab, tmp_path / "two", beam_arguments=arguments)
    assert shard_bytes(tmp_path / "two") == shard_bytes(shards)
    assert len(shard_bytes(shards)) == 4


def test_other_files_same_documents_same_bytes(shards, corpus, corpus_vocab, tmp_path):
    documents = [text for i in (2, 0, 1) for text in read_documents(Part(str(corpus / f"{i}.txt")))]
    with gzip.open(tmp_path / "all.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in [*documents, documents[0]])
    manifest = make(tmp_path, corpus_vocab, tmp_path / "out", pattern="*.jsonl.gz")
    assert shard_bytes(tmp_path / "out") == shard_bytes(shards)
    # The topics hold one text twice; the one added here is the second duplicate.
    assert manifest["counts"]["dropped_duplicates"] == 2


def test_a_large_file_read_by_many_gives_the_same_bytes(shards, corpus, corpus_vocab, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "PART_BYTES", 10_000)
    whole = b"\n\n".join((corpus / f"{i}.txt").read_bytes() for i in (1, 0, 2))
    (tmp_path / "whole.txt").write_bytes(whole)
    manifest = make(tmp_path, corpus_vocab, tmp_path / "out", pattern="whole.txt")
    assert shard_bytes(tmp_path / "out") == shard_bytes(shards)
    assert manifest["input"]["files"] == 1


def test_another_seed_gives_other_bytes(corpus, corpus_vocab, tmp_path):
    # One pool, so the documents of the shard are the same and only what is drawn for it differs.
    for name, seed in (("out", 7), ("same", 7), ("other", 8)):
        instances = dataclasses.replace(CONFIG.instances, seed=seed)
        config = JobConfig(instances=instances, num_shards=1, validation_fraction=0)
        make(corpus, corpus_vocab, tmp_path / name, config=config, pattern="0.txt")
    found = [shard_bytes(tmp_path / name) for name in ("out", "same", "other")]
    assert found[0] == found[1] != found[2]


def test_manifest_tells_what_was_made(shards, corpus_vocab):
    manifest = json.loads((shards / "dataset.json").read_text())
    assert records.RecordLayout.of(manifest) == CONFIG.instances.layout
    assert manifest["vocabulary"] == {"size": 1000, "sha256": hashlib.sha256(corpus_vocab.read_bytes()).hexdigest()}
    for shard in manifest["shards"]:
        data = (shards / shard["name"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert sum(1 for _ in tf.data.TFRecordDataset(str(shards / shard["name"]))) == shard["examples"]
    assert manifest["counts"]["instances"] == sum(shard["examples"] for shard in manifest["shards"])
    assert (shards / "COMPLETED").exists()
    assert not list(shards.glob("*.tmp"))
    assert "random next sentence" in summary(manifest)


def test_tfds_opens_the_folder(shards):
    builder = tfds.builder_from_directory(str(shards))
    counts = json.loads((shards / "dataset.json").read_text())["counts"]
    assert sum(split.num_examples for split in builder.info.splits.values()) == counts["instances"]
    example = next(iter(tfds.as_numpy(builder.as_dataset(split="train"))))
    assert set(example) == set(CONFIG.instances.layout.features)


def test_validation_documents_are_in_no_training_pool():
    config = JobConfig(validation_fraction=0.3, dupe_factor=3, num_shards=4, num_validation_shards=1)
    for i in range(200):
        names = [name for name, _ in pools_of(document_id(f"document {i}"), config)]
        splits = {name.split("-")[1].split(".")[0] for name in names}
        assert (splits, len(names)) in (({"train"}, 3), ({"validation"}, 1))


def test_dupe_factor_makes_fresh_instances_of_every_document(corpus, corpus_vocab, tmp_path):
    one = JobConfig(instances=CONFIG.instances, num_shards=2, validation_fraction=0)
    two = JobConfig(instances=CONFIG.instances, num_shards=2, validation_fraction=0, dupe_factor=2)
    once = make(corpus, corpus_vocab, tmp_path / "one", config=one, pattern="0.txt")["counts"]
    twice = make(corpus, corpus_vocab, tmp_path / "two", config=two, pattern="0.txt")["counts"]
    assert twice["passes_over_documents"] == 2 * once["passes_over_documents"]
    assert twice["tokens"] == 2 * once["tokens"]
    ids = decoded(tmp_path / "two", "train")["input_word_ids"]
    assert len(np.unique(ids, axis=0)) == len(ids)


def test_exactly_num_shards_even_when_pools_are_empty(corpus_vocab, tmp_path):
    (tmp_path / "few.txt").write_text("A first sentence. A second one.\n\nAnother document. It has two.\n")
    config = JobConfig(instances=CONFIG.instances, num_shards=5, validation_fraction=0)
    make(tmp_path, corpus_vocab, tmp_path / "out", config=config, pattern="few.txt")
    assert len(shard_bytes(tmp_path / "out")) == 5


def test_bad_files_among_good_ones(corpus, corpus_vocab, tmp_path):
    for name in ("0.txt", "1.txt", "2.txt"):
        shutil.copy(corpus / name, tmp_path / name)
    good = make(tmp_path, corpus_vocab, tmp_path / "good")
    noise = random.Random(0).randbytes(100_000).replace(b"\n\n", b"")
    whole = gzip.compress(b"cut\n\n" + noise)
    (tmp_path / "cut.txt").write_bytes(whole[:-5000])
    (tmp_path / "line.txt").write_bytes(b"x" * 100_000_000)
    (tmp_path / "binary.txt").write_bytes(noise)
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "blank.txt").write_bytes(b"\n" * 10_000)
    manifest = make(tmp_path, corpus_vocab, tmp_path / "out", pattern="*.txt", max_lost_fraction=1.0)
    # The document before the cut came through and is one more, without a pair.
    assert manifest["counts"]["documents_read"] == good["counts"]["documents_read"] + 1
    assert manifest["counts"]["tokens"] == good["counts"]["tokens"] + 2
    letter = [json.loads(line) for line in (tmp_path / "out/dead_letter.jsonl").read_text().splitlines()]
    assert {pathlib.Path(bad["path"]).name for bad in letter} == {"cut.txt", "line.txt", "binary.txt"}
    assert manifest["counts"]["bad_records"] == 0
    assert (manifest["reading"]["lost_files"], manifest["reading"]["empty_files"]) == (3, 2)

    with pytest.raises(
        InputError, match=r"complete files. Received .*line.txt.*: line 1: a doc.* 2 more files are incomplete"
    ):
        make(tmp_path, corpus_vocab, tmp_path / "strict", pattern="*.txt")
    assert [path.name for path in (tmp_path / "strict").iterdir()] == ["dead_letter.jsonl"]
    make(tmp_path, corpus_vocab, tmp_path / "strict", pattern="*.txt", max_lost_fraction=1.0)
    assert shard_bytes(tmp_path / "strict") == shard_bytes(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_shards": 0}, r"--num_shards must lie in \[1, 99999\]. Received: 0."),
        ({"num_validation_shards": 0}, r"--num_validation_shards must lie in \[1, 99999\]"),
        ({"dupe_factor": 0}, "--dupe_factor must be at least 1"),
        ({"validation_fraction": 1.0}, r"--validation_fraction must lie in \[0, 1\)"),
        ({"compression": "zip"}, "--compression must be one of"),
        ({"short_seq_prob": 7}, "--short_seq_prob must lie in"),
        ({"max_seq_length": 4}, "--max_seq_length must be at least 5"),
        ({"masked_lm_prob": 0.0}, "--masked_lm_prob must lie in"),
        ({"max_predictions_per_seq": 0}, "--max_predictions_per_seq must be at least 1"),
        ({"seed": -1}, r"--seed must lie in \[0, 2\^63\)"),
        ({"masking": "words"}, "--masking must be one of"),
        ({"pairs": "both"}, "--pairs must be one of"),
        ({"max_sequences_per_row": -1}, "--max_sequences_per_row must lie in"),
        ({"max_sequences_per_row": 3}, "--max_sequences_per_row goes with --packing only. Received: 3"),
    ],
)
def test_wrong_parameters_are_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        if set(changes) <= {field.name for field in dataclasses.fields(InstanceConfig)}:
            InstanceConfig(**changes)
        else:
            JobConfig(**changes)


def test_number_of_shards_follows_the_text():
    def numbers(text_bytes, **settings):
        config, warning = settle_shards(JobConfig(validation_fraction=0.1, **settings), text_bytes)
        return config.num_shards, config.num_validation_shards, warning

    assert numbers(1e6) == (8, 1, None)
    assert numbers(3e9) == (27, 3, None)
    assert numbers(3e9, dupe_factor=2) == (54, 3, None)
    assert numbers(1e9, num_shards=5) == (5, 1, None)
    count, _, warning = numbers(1e9, num_shards=4)
    assert count == 4
    assert "--num_shards=4 puts about 225 MB of text into each pool" in warning
    assert "--num_shards=9 keeps it near 100 MB" in warning


def test_duplicates_can_be_kept(corpus, corpus_vocab, tmp_path):
    text = (corpus / "0.txt").read_text()
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.txt").write_text(text)
    settings = {"instances": CONFIG.instances, "num_shards": 2, "validation_fraction": 0}
    once = make(corpus, corpus_vocab, tmp_path / "once", config=JobConfig(**settings), pattern="0.txt")["counts"]
    kept = JobConfig(**settings, documents=DocumentConfig(deduplicate=False))
    twice = make(tmp_path, corpus_vocab, tmp_path / "twice", config=kept, pattern="[ab].txt")["counts"]
    assert twice["tokens"] == 2 * once["tokens"]
    assert "dropped_duplicates" not in twice
    # The order of equal documents has no meaning, so the files' names have none either.
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    make(tmp_path, corpus_vocab, tmp_path / "renamed", config=kept, pattern="[bc].txt")
    assert shard_bytes(tmp_path / "renamed") == shard_bytes(tmp_path / "twice")


def test_paragraphs_and_near_duplicates_come_once(corpus_vocab, tmp_path):
    rng = random.Random(3)
    words = [f"word{rng.randrange(10**6)}" for _ in range(200)]
    shared = "This sentence stands in every document. It is the same."
    near = [" ".join(words[:n] + ["changed"] + words[n:]) + ". End here." for n in (0, 100)]
    documents = [f"{shared}\n{' '.join(words[n : n + 9])}. Second {n}." for n in range(0, 200, 10)]
    (tmp_path / "a.txt").write_text("\n\n".join([*documents[:10], *near]))
    (tmp_path / "b.txt").write_text("\n\n".join(documents[10:]))
    config = JobConfig(
        instances=CONFIG.instances,
        documents=DocumentConfig(deduplicate_paragraphs=True, near_duplicates=0.8),
        num_shards=2,
        validation_fraction=0.2,
    )
    manifest = make(tmp_path, corpus_vocab, tmp_path / "out", config=config, pattern="[ab].txt")
    counts = manifest["counts"]
    assert (counts["passes_over_documents"], counts["dropped_near_duplicates"]) == (21, 1)
    assert counts["lines_of_other_documents"] == 19
    # The shared line has two sentences; then two of each document, the one that is left of the two included.
    assert counts["sentences"] == 2 + 2 * 20 + 2
    told = summary(manifest)
    assert "near duplicates" in told
    assert "lines of other documents" in told
    twice = dataclasses.replace(config, dupe_factor=2)
    again = make(tmp_path, corpus_vocab, tmp_path / "twice", config=twice, pattern="[ab].txt")["counts"]
    of_validation = 2 * counts["sentences"] - again["sentences"]
    assert 0 < of_validation < counts["sentences"]
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    two = ["--direct_num_workers=2"]
    make(tmp_path, corpus_vocab, tmp_path / "two", config=twice, pattern="[bc].txt", beam_arguments=two)
    assert shard_bytes(tmp_path / "two") == shard_bytes(tmp_path / "twice")


def test_every_flag_reaches_the_job(corpus, corpus_vocab, command, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"body": (corpus / "0.txt").read_text()}) + "\n")
    given = {
        "instances": {
            "max_seq_length": 48,
            "max_predictions_per_seq": 9,
            "masked_lm_prob": 0.2,
            "masking": "span",
            "pairs": "sentence_order",
            "short_seq_prob": 0.3,
            "sentences": "lines",
            "packing": True,
            "max_sequences_per_row": 5,
            "seed": 99,
            "tokenizer": "wordpiece",
            "lower_case": False,
            "strip_accents": True,
            "split_cjk": False,
            "max_word_length": 77,
        },
        "documents": {
            "clean": False,
            "min_document_characters": 7,
            "deduplicate": False,
            "deduplicate_paragraphs": True,
            "near_duplicates": 0.7,
            "quality_rules": "none",
        },
        "file_format": {
            "text_field": "body",
            "source_field": "origin",
            "licence_field": "terms",
            "document_per": "file",
            "encoding": "latin-1",
            "max_document_bytes": 999_999,
        },
        "num_shards": 2,
        "num_validation_shards": 3,
        "validation_fraction": 0.25,
        "dupe_factor": 2,
        "compression": "gzip",
    }
    flat = {
        k: v for name, value in given.items() for k, v in (value if isinstance(value, dict) else {name: value}).items()
    }
    flags = [f"--{name}={value}" for name, value in flat.items()]
    where = ["--input", tmp_path / "a.jsonl", "--vocab", corpus_vocab, "--output_dir", tmp_path / "out"]
    process = command("pipelines.create_pretraining_data", *where, *flags)
    assert process.returncode == 0, process.stderr
    given["instances"]["rules"] = "google"  # of the vocabulary, for which there is no flag
    given["documents"]["min_characters"] = given["documents"].pop("min_document_characters")
    assert json.loads((tmp_path / "out/dataset.json").read_text())["parameters"] == given
