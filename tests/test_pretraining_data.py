import bz2
import gzip
import hashlib
import json
import lzma
import os
import pathlib
import random
import shutil

import apache_beam as beam
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import zstandard

from bert_tf import records
from bert_tf.errors import InputError
from bert_tf.vocabulary import Vocabulary
from pipelines import shards as shards_module
from pipelines.options import local_options
from pipelines.pool import InstanceConfig
from pipelines.pretraining_data import JobConfig, assign_pools, create_pretraining_data
from pipelines.readers import BadRecord, ReadDocuments, match_files, read_documents
from pipelines.report import summary

CONFIG = JobConfig(
    instances=InstanceConfig(max_seq_length=64, max_predictions_per_seq=10), num_shards=3, validation_fraction=0.05
)


def make(corpus, vocab, output, *, config=CONFIG, pattern="[0-9].txt", **kwargs) -> dict:
    return create_pretraining_data(
        input_patterns=[str(corpus / pattern)], vocab=str(vocab), output_dir=str(output), config=config, **kwargs
    )


def shard_bytes(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("pretrain-*"))}


def decoded(folder: pathlib.Path, split: str) -> dict[str, np.ndarray]:
    layout = CONFIG.instances.layout
    paths = [str(path) for path in sorted(folder.glob(f"pretrain-{split}*"))]
    batch = next(iter(tf.data.TFRecordDataset(paths).batch(100_000)))
    return {name: x.numpy() for name, x in records.parse(batch, layout).items()}


def test_two_processes_write_the_same_bytes(shards, corpus, corpus_vocab, tmp_path):
    arguments = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    make(corpus, corpus_vocab, tmp_path / "two", beam_arguments=arguments)
    assert shard_bytes(tmp_path / "two") == shard_bytes(shards)
    assert len(shard_bytes(shards)) == 4


def test_other_files_same_documents_same_bytes(shards, corpus, corpus_vocab, tmp_path):
    documents = [text for i in (2, 0, 1) for text in read_documents(str(corpus / f"{i}.txt"))]
    with gzip.open(tmp_path / "all.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in [*documents, documents[0]])
    manifest = make(tmp_path, corpus_vocab, tmp_path / "out", pattern="*.jsonl.gz")
    assert shard_bytes(tmp_path / "out") == shard_bytes(shards)
    # The topics hold one text twice; the one added here is the second duplicate.
    assert manifest["counts"]["duplicates"] == 2


def test_another_seed_gives_other_bytes(shards, corpus, corpus_vocab, tmp_path):
    instances = InstanceConfig(max_seq_length=64, max_predictions_per_seq=10, seed=7)
    make(corpus, corpus_vocab, tmp_path / "out", config=JobConfig(instances=instances, num_shards=3))
    theirs, ours = shard_bytes(shards), shard_bytes(tmp_path / "out")
    assert all(theirs[name] != ours[name] for name in ours)


def test_manifest_tells_what_was_made(shards, corpus_vocab):
    manifest = json.loads((shards / "dataset.json").read_text())
    assert manifest["max_seq_length"] == 64
    assert manifest["vocabulary"] == {"size": 1000, "sha256": hashlib.sha256(corpus_vocab.read_bytes()).hexdigest()}
    for shard in manifest["shards"]:
        data = (shards / shard["name"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert sum(1 for _ in tf.data.TFRecordDataset(str(shards / shard["name"]))) == shard["examples"]
    assert manifest["counts"]["instances"] == sum(shard["examples"] for shard in manifest["shards"])
    assert (shards / "COMPLETED").exists()
    assert not list(shards.glob("*.tmp"))
    assert "random next sentence" in summary(manifest, seconds=1.0)


def test_tfds_opens_the_folder(shards):
    builder = tfds.builder_from_directory(str(shards))
    counts = json.loads((shards / "dataset.json").read_text())["counts"]
    assert sum(split.num_examples for split in builder.info.splits.values()) == counts["instances"]
    example = next(iter(tfds.as_numpy(builder.as_dataset(split="train"))))
    assert set(example) == set(CONFIG.instances.layout.features)


def test_instances_are_well_formed(shards, corpus_vocab):
    vocabulary = Vocabulary.load(str(corpus_vocab))
    batch = decoded(shards, "train")
    ids, mask, types = batch["input_word_ids"], batch["input_mask"], batch["input_type_ids"]
    lengths = mask.sum(axis=1)
    assert len(ids) > 500
    assert (ids[:, 0] == vocabulary["[CLS]"]).all()
    assert (np.take_along_axis(ids, lengths[:, None] - 1, axis=1) == vocabulary["[SEP]"]).all()
    assert not ids[mask == 0].any()
    weights = batch["masked_lm_weights"]
    expected = np.minimum(10, np.maximum(1, np.rint(lengths * 0.15)))
    np.testing.assert_array_equal(weights.sum(axis=1), expected)
    # With what was hidden put back, no [MASK] is left, and every row holds its three special tokens.
    restored = ids.copy()
    rows, columns = np.nonzero(weights)
    restored[rows, batch["masked_lm_positions"][rows, columns]] = batch["masked_lm_ids"][rows, columns]
    assert not np.isin(restored, [vocabulary["[MASK]"], vocabulary["[UNK]"]]).any()
    assert np.isin(restored, [vocabulary["[CLS]"], vocabulary["[SEP]"]]).sum() == 3 * len(ids)
    # Segment 0 up to the first [SEP], segment 1 after it up to the second, 0 in the padding.
    seps_before = np.cumsum(restored == vocabulary["[SEP]"], axis=1) - (restored == vocabulary["[SEP]"])
    np.testing.assert_array_equal(types, (seps_before == 1) & (mask == 1))


def test_validation_documents_are_in_no_training_pool():
    config = JobConfig(validation_fraction=0.3, dupe_factor=3, num_shards=4)
    for i in range(200):
        names = [name for name, _ in assign_pools(f"document {i}", config)]
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


def test_complete_folder_is_left_alone_and_others_are_refused(shards, corpus, corpus_vocab, tmp_path, capsys):
    before = shard_bytes(shards)
    make(corpus, corpus_vocab, shards)
    assert "nothing to do" in capsys.readouterr().out
    other = JobConfig(instances=CONFIG.instances, num_shards=4, validation_fraction=0.05)
    with pytest.raises(InputError, match="num_shards = 3 instead of 4; --overwrite starts over"):
        make(corpus, corpus_vocab, shards, config=other)
    assert shard_bytes(shards) == before


def test_folder_of_an_older_format_is_refused(shards, corpus, corpus_vocab, tmp_path):
    shutil.copytree(shards, tmp_path / "old")
    manifest = json.loads((tmp_path / "old/dataset.json").read_text())
    (tmp_path / "old/dataset.json").write_text(json.dumps({**manifest, "format": 1}))
    with pytest.raises(InputError, match="from the same format. Received one made with 1 instead of 2"):
        make(corpus, corpus_vocab, tmp_path / "old")


def test_killed_job_is_taken_up_and_leaves_no_stray_file(shards, corpus, corpus_vocab, tmp_path):
    make(corpus, corpus_vocab, tmp_path / "out")
    assert shard_bytes(tmp_path / "out") == shard_bytes(shards)
    finished = sorted(path.name for path in (tmp_path / "out").iterdir())
    # As a kill leaves it: the job's description and some shards are there, and a half-written temporary file.
    manifest = json.loads((tmp_path / "out/dataset.json").read_text())
    del manifest["counts"], manifest["shards"]
    (tmp_path / "out/job.json").write_text(json.dumps(manifest))
    for name in ("COMPLETED", "dataset.json", "pretrain-train.tfrecord-00001-of-00003"):
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / f"pretrain-train.tfrecord-00001-of-00003.{'0' * 32}.tmp").write_bytes(b"half")
    other = JobConfig(instances=CONFIG.instances, num_shards=4, validation_fraction=0.05)
    with pytest.raises(InputError, match="num_shards = 3 instead of 4"):
        make(corpus, corpus_vocab, tmp_path / "out", config=other)
    make(corpus, corpus_vocab, tmp_path / "out")
    assert shard_bytes(tmp_path / "out") == shard_bytes(shards)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == finished


def test_overwrite_leaves_no_stale_shard(corpus, corpus_vocab, tmp_path):
    config = JobConfig(instances=CONFIG.instances, num_shards=3)
    make(corpus, corpus_vocab, tmp_path / "out", config=config, pattern="0.txt")
    fewer = JobConfig(instances=CONFIG.instances, num_shards=2)
    make(corpus, corpus_vocab, tmp_path / "out", config=fewer, pattern="0.txt", overwrite=True)
    names = list(shard_bytes(tmp_path / "out"))
    assert [name[-8:] for name in names] == ["of-00002", "of-00002", "of-00001"]


@pytest.mark.parametrize(
    ("name", "data", "position", "reason"),
    [
        ("a.txt", b"fine\n\n\nx\ny\xff\xfe\n", 5, "bytes that are no UTF-8"),
        ("a.jsonl", b'{"text": "fine"}\n{"txt": 1}\n', 2, 'no JSON object with a string "text"'),
        ("b.jsonl", b'\n{"text": "fine"}\n[1]\n', 3, 'no JSON object with a string "text"'),
        ("c.json", b'{\n{"text": "fine"}', 1, 'no JSON object with a string "text"'),
        ("d.jsonl", b'{"text": "fine"}\n{"text": "\xff"}', 2, "bytes that are no UTF-8"),
        ("e.txt", b"fine\n\n" + b"x" * 2000 + b"\ny\n", 3, "a document of more than 1,000 bytes"),
        ("f.txt", b"fine\n\n" + b"x\n" * 2000, 3, "a document of more than 1,000 bytes"),
        ("g.jsonl", b'{"text": "' + b"x" * 2000 + b'"}\n{"text": "fine"}', 1, "a line that is too long"),
    ],
)
def test_bad_records_are_named_and_the_others_read(tmp_path, name, data, position, reason):
    (tmp_path / name).write_bytes(data)
    found = list(read_documents(str(tmp_path / name), max_bytes=1000))
    assert [x for x in found if isinstance(x, str)] == ["fine"]
    (bad,) = [x for x in found if isinstance(x, BadRecord)]
    assert (bad.path, bad.position) == (str(tmp_path / name), position)
    assert bad.reason.startswith(reason)


def test_many_bad_records_are_all_counted_and_the_first_listed(tmp_path):
    lines = ["{}" if n % 50 else json.dumps({"text": f"One here {n}. Two."}) for n in range(30_000)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    letter = str(tmp_path / "letter.jsonl")
    sentence = "Received 29400 beside 600 documents, .*a.jsonl:2: .* 10000 of them are listed"
    with pytest.raises(Exception, match=sentence), beam.Pipeline(options=local_options([])) as root:
        _ = root | ReadDocuments([str(tmp_path / "a.jsonl")], max_bad_fraction=0.5, dead_letter=letter)
    positions = [json.loads(line)["position"] for line in pathlib.Path(letter).read_text().splitlines()]
    assert positions == [n + 1 for n in range(30_000) if n % 50][:10_000]
    with pytest.raises(InputError, match=r"--max_bad_fraction must lie in \[0, 1\]. Received: 7"):
        ReadDocuments([], max_bad_fraction=7)


def test_parquet_rows_are_documents(tmp_path):
    table = pyarrow.table({"text": ["one", None, "two"], "id": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    found = list(read_documents(str(tmp_path / "a.parquet")))
    assert found == ["one", BadRecord(str(tmp_path / "a.parquet"), 2, "a text that is None"), "two"]
    pyarrow.parquet.write_table(table.select(["id"]), tmp_path / "b.parquet")
    assert list(read_documents(str(tmp_path / "b.parquet")))[0].reason == 'no column "text" but id'


def test_bad_files_among_good_ones(corpus, corpus_vocab, tmp_path):
    for name in ("0.txt", "1.txt", "2.txt"):
        shutil.copy(corpus / name, tmp_path / name)
    good = make(tmp_path, corpus_vocab, tmp_path / "good")
    noise = random.Random(0).randbytes(100_000).replace(b"\n\n", b"")
    whole = gzip.compress(b"cut\n\n" + noise)
    (tmp_path / "cut.txt").write_bytes(whole[:-5000])
    (tmp_path / "line.txt").write_bytes(b"x" * 20_000_000)
    (tmp_path / "binary.txt").write_bytes(noise)
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "blank.txt").write_bytes(b"\n" * 10_000)
    manifest = make(tmp_path, corpus_vocab, tmp_path / "out", pattern="*.txt", max_bad_fraction=0.1)
    # The document before the cut came through and is one more, without a pair.
    assert manifest["counts"]["documents_read"] == good["counts"]["documents_read"] + 1
    assert manifest["counts"]["tokens"] == good["counts"]["tokens"] + 2
    letter = [json.loads(line) for line in (tmp_path / "out/dead_letter.jsonl").read_text().splitlines()]
    assert {pathlib.Path(bad["path"]).name for bad in letter} == {"cut.txt", "line.txt", "binary.txt"}
    assert manifest["counts"]["bad_records"] == len(letter)

    with pytest.raises(InputError, match=r"expected at most 1.00% of bad records .* Received 3 beside 209 documents"):
        make(tmp_path, corpus_vocab, tmp_path / "strict", pattern="*.txt")
    assert [path.name for path in (tmp_path / "strict").iterdir()] == ["dead_letter.jsonl"]
    make(tmp_path, corpus_vocab, tmp_path / "strict", pattern="*.txt", max_bad_fraction=0.1)
    assert shard_bytes(tmp_path / "strict") == shard_bytes(tmp_path / "out")


def test_blank_lines_separate_documents(tmp_path):
    (tmp_path / "a.txt").write_text("\n\none\ntwo\n\n \n\nthree")
    assert list(read_documents(str(tmp_path / "a.txt"))) == ["one\ntwo", "three"]


def test_document_is_the_same_wherever_it_stands(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\n\ntwo")
    (tmp_path / "b.txt").write_bytes(b"two\r\n\r\none\r\n")
    assert sorted(read_documents(str(tmp_path / "a.txt"))) == sorted(read_documents(str(tmp_path / "b.txt")))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_compression_is_recognized_and_a_cut_file_is_bad(tmp_path, compress):
    data = compress(b"one\n\ntwo\n" * 100_000)
    (tmp_path / "a.txt").write_bytes(data)
    whole = list(read_documents(str(tmp_path / "a.txt")))
    assert whole == ["one", *["two\none"] * 99_999, "two"]
    (tmp_path / "a.txt").write_bytes(data[:-10])
    *before, bad = read_documents(str(tmp_path / "a.txt"))
    assert before == whole[: len(before)]
    assert bad.reason.startswith("the file cannot be read on")


def test_half_a_surrogate_pair_in_json_is_replaced(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b"}\n{"text": "\\ud83d\\ude00"}\n')
    assert list(read_documents(str(tmp_path / "a.jsonl"))) == ["a\ufffdb", "\U0001f600"]


def test_folder_of_others_is_refused_and_kept(corpus, corpus_vocab, tmp_path):
    (tmp_path / "pretrain-notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="or one that an earlier job made. Received one with pretrain-notes.txt"):
            make(corpus, corpus_vocab, tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["pretrain-notes.txt"]


def test_bad_option_leaves_a_finished_folder_alone(shards, corpus, corpus_vocab):
    before = shard_bytes(shards)
    for arguments in (["--direct_num_wrkers=2"], ["stray.txt"], ["--direct_num_workers=x"], ["--runner=Nonsense"]):
        with pytest.raises(InputError):
            make(corpus, corpus_vocab, shards, overwrite=True, beam_arguments=arguments)
    assert shard_bytes(shards) == before
    assert (shards / "COMPLETED").exists()


def test_changed_input_of_the_same_size_is_not_taken_for_the_same(corpus_vocab, tmp_path):
    (tmp_path / "a.txt").write_text("One here. Two here.\n\nThree here. Four here.\n")
    config = JobConfig(instances=CONFIG.instances, num_shards=1, validation_fraction=0)
    make(tmp_path, corpus_vocab, tmp_path / "out", config=config, pattern="a.txt")
    (tmp_path / "a.txt").write_text("Two here. One here.\n\nThree here. Four here.\n")
    os.utime(tmp_path / "a.txt", (1, 1))
    with pytest.raises(InputError, match="made from the same input"):
        make(tmp_path, corpus_vocab, tmp_path / "out", config=config, pattern="a.txt")


def test_failed_job_leaves_an_empty_folder(corpus_vocab, tmp_path):
    (tmp_path / "a.txt").write_text("\n")
    for _ in range(2):
        with pytest.raises(InputError, match="expected text for at least one instance"):
            make(tmp_path, corpus_vocab, tmp_path / "out", pattern="a.txt")
        assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "a.txt").write_text("One here. Two here.\n\nThree. Four.\n")
    make(tmp_path, corpus_vocab, tmp_path / "out", pattern="a.txt")
    (tmp_path / "a.txt").write_text("\n")
    for _ in range(2):
        with pytest.raises(InputError, match="expected text for at least one instance"):
            make(tmp_path, corpus_vocab, tmp_path / "out", pattern="a.txt", overwrite=True)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["vocab.txt"]
    (tmp_path / "out/vocab.txt").write_text("mine")
    with pytest.raises(InputError, match="Received one with vocab.txt"):
        make(tmp_path, corpus_vocab, tmp_path / "out", pattern="a.txt")


def test_place_that_cannot_be_written_is_named(corpus_vocab, corpus, tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "out", tmp_path / "file"):
        with pytest.raises(InputError, match="expected a (folder|place) that can be written"):
            make(corpus, corpus_vocab, path)
        with pytest.raises(InputError, match="expected a place that can be written"):
            shards_module.check_writable(str(path if path.name == "out" else tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_files_are_matched_once_and_sorted(tmp_path):
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text("x")
    found = match_files([str(tmp_path / "*.txt"), str(tmp_path / "a.*")])
    assert [pathlib.Path(f.path).name for f in found] == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_shards": 0}, "--num_shards must be at least 1. Received: 0."),
        ({"num_validation_shards": 0}, "--num_validation_shards must be at least 1"),
        ({"instances": InstanceConfig(short_seq_prob=7)}, "--short_seq_prob must lie in"),
        ({"dupe_factor": 0}, "--dupe_factor must be at least 1"),
        ({"validation_fraction": 1.0}, r"--validation_fraction must lie in \[0, 1\)"),
        ({"instances": InstanceConfig(max_seq_length=4)}, "--max_seq_length must be at least 5"),
        ({"instances": InstanceConfig(masked_lm_prob=0.0)}, "--masked_lm_prob must lie in"),
        ({"instances": InstanceConfig(max_predictions_per_seq=0)}, "--max_predictions_per_seq must be at least 1"),
        ({"instances": InstanceConfig(seed=-1)}, "--seed must not be negative"),
    ],
)
def test_wrong_parameters_are_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        JobConfig(**changes)
