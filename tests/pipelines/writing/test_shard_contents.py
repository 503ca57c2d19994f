"""What the records of shards hold, and how they are shown."""

import gzip
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from bert_tf.core import records
from bert_tf.core.errors import InputError
from bert_tf.text.vocabulary import Vocabulary
from bert_tf.training.data import shard_input
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.inspection import describe
from pipelines.jobs.job import JobConfig
from pipelines.writing.report import summary
from tests.pipelines.jobs.test_pretraining_data import CONFIG, decoded, make, shard_bytes


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


@pytest.mark.parametrize("pairs", ["next_sentence", "sentence_order", "none"])
def test_packed_rows_are_well_formed(corpus, corpus_vocab, tmp_path, pairs):
    instances = InstanceConfig(max_seq_length=64, max_predictions_per_seq=10, packing=True, pairs=pairs)
    config = JobConfig(instances=instances, num_shards=2, validation_fraction=0)
    manifest = make(corpus, corpus_vocab, tmp_path / "out", config=config)
    layout = records.RecordLayout.of(manifest)
    batch = decoded(tmp_path / "out", "train", layout)
    counts = manifest["counts"]
    assert counts["rows"] == len(batch["input_mask"]) < counts["instances"]
    assert counts["instance_tokens"] == batch["input_mask"].sum()
    assert counts["predictions"] == batch["masked_lm_weights"].sum()
    number, mask = batch["sequence_ids"], batch["input_mask"]
    assert ((number > 0) == (mask == 1)).all()
    assert 1 < number.max() <= layout.max_sequences_per_row == 4
    begins = (mask == 1) & (batch["position_ids"] == 0)
    vocabulary = Vocabulary.load(str(corpus_vocab))
    assert (batch["input_word_ids"][begins] == vocabulary["[CLS]"]).all()
    assert begins.sum() == counts["instances"]
    np.testing.assert_array_equal(np.cumsum(begins, axis=1) * mask, number)
    if pairs == "none":
        assert "next_sentence_labels" not in layout.features
        assert not batch["input_type_ids"].any()
    else:
        assert batch["next_sentence_weights"].sum() == counts["instances"]
        rows, columns = np.nonzero(batch["next_sentence_weights"])
        assert begins[rows, batch["next_sentence_positions"][rows, columns]].all()
    told = summary(manifest)
    assert "without packing" in told
    assert tfds.builder_from_directory(str(tmp_path / "out")).info.splits["train"].num_examples == counts["rows"]


def test_shards_without_masks_or_compressed(corpus, corpus_vocab, tmp_path):
    settings = {"num_shards": 2, "validation_fraction": 0}
    none = InstanceConfig(max_seq_length=64, max_predictions_per_seq=10, masking="none")
    manifest = make(corpus, corpus_vocab, tmp_path / "none", config=JobConfig(instances=none, **settings))
    assert set(records.RecordLayout.of(manifest).features) == {
        *("input_word_ids", "input_mask", "input_type_ids", "next_sentence_labels")
    }
    vocabulary = Vocabulary.load(str(corpus_vocab))
    ids = decoded(tmp_path / "none", "train", none.layout)["input_word_ids"]
    assert not (ids == vocabulary["[MASK]"]).any()

    plain = JobConfig(instances=CONFIG.instances, **settings)
    make(corpus, corpus_vocab, tmp_path / "plain", config=plain)
    for name in ("gzip", "again"):
        packed = JobConfig(instances=CONFIG.instances, compression="gzip", **settings)
        make(corpus, corpus_vocab, tmp_path / name, config=packed)
    assert shard_bytes(tmp_path / "gzip") == shard_bytes(tmp_path / "again")
    assert {n: gzip.decompress(d) for n, d in shard_bytes(tmp_path / "gzip").items()} == shard_bytes(tmp_path / "plain")
    assert not (tmp_path / "gzip/dataset_info.json").exists()
    batches = [
        next(
            iter(
                shard_input.training_batches(
                    [shard_input.ShardFolder.open(str(tmp_path / name), "data.train")], 0, global_batch_size=8, seed=1
                )
            )
        )
        for name in ("gzip", "plain")
    ]
    for name, values in batches[0].items():
        np.testing.assert_array_equal(values, batches[1][name])
    shown = "\n".join(describe(str(tmp_path / "gzip"), split="train", shard=0, number=2))
    assert shown == "\n".join(describe(str(tmp_path / "plain"), split="train", shard=0, number=2))
    damaged = tmp_path / "gzip/pretrain-train.tfrecord-00000-of-00002"
    data = bytearray(damaged.read_bytes())
    for place in range(10, 60):
        damaged.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        with pytest.raises(InputError, match="pretrain-train.tfrecord-00000-of-00002: expected whole records"):
            list(describe(str(tmp_path / "gzip"), split="train", shard=0, number=10**6))
    (tmp_path / "plain/dataset.json").write_text("{")
    with pytest.raises(InputError, match="dataset.json: expected what an earlier job wrote"):
        list(describe(str(tmp_path / "plain"), split="train", shard=0, number=1))


def test_records_are_shown_as_a_person_reads_them(shards, command, tmp_path):
    shown = command("pipelines.inspect_shards", shards, "-n", 2)
    assert (shown.returncode, shown.stderr) == (0, "")
    report, first, second, last = shown.stdout.split("\n\n")
    assert report.startswith("quality\n  not read")
    assert first.startswith("pretrain-train.tfrecord-00000-of-00003, record 0: ")
    assert "  1 A  [CLS] " in second
    assert "→MASK]" in first
    assert "B is " in first
    assert last.startswith("2 of ")
    for arguments, sentence in (
        ([tmp_path], "expected a folder of finished shards. Received one without dataset.json"),
        ([shards, "--shard=3"], "--shard must be one of the 3 train shards, from 0. Received: 3"),
        ([], "Expected one folder of shards and flags. Received: no folder"),
    ):
        refused = command("pipelines.inspect_shards", *arguments)
        assert refused.returncode == 1
        assert sentence in refused.stderr


def test_words_of_another_vocabulary_are_not_shown(shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    lines = (copy / "vocab.txt").read_text().splitlines(keepends=True)
    (copy / "vocab.txt").write_text("".join([*lines[:-2], *lines[:-3:-1]]))
    with pytest.raises(InputError, match="vocab.txt: expected the vocabulary that the shards were made with, sha256"):
        list(describe(str(copy), split="train", shard=0, number=1))
