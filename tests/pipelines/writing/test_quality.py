"""The quality report: each fault that a folder of shards can hide is a figure and a warning."""

import json
import pathlib
import shutil

import pytest

from bert_tf.core.errors import InputError
from bert_tf.core.records import RecordLayout
from bert_tf.text.vocabulary import SPECIAL_TOKENS
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data
from pipelines.writing import quality
from pipelines.writing.report import summary


def make(tmp_path: pathlib.Path, texts: list[str], tokens: list[str], **instances) -> dict:
    (tmp_path / "corpus.txt").write_text("\n\n".join(texts))
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in (*SPECIAL_TOKENS, *tokens)))
    config = JobConfig(instances=InstanceConfig(**instances), num_shards=1, validation_fraction=0)
    return create_pretraining_data(
        input_patterns=[str(tmp_path / "corpus.txt")],
        vocab=str(tmp_path / "vocab.txt"),
        output_dir=str(tmp_path / "shards"),
        config=config,
    )


def words(count: int, first: int = 0) -> str:
    return " ".join(f"w{'abcdefghij'[number % 10]}" for number in range(first, first + count)) + " ."


WORDS = [".", *(f"w{letter}" for letter in "abcdefghij")]


def test_unknown_tokens_are_counted(tmp_path):
    # The vocabulary lacks 4 of each 10 words: of 10 words and a full stop, 4 of 11 tokens are [UNK].
    texts = ["\n".join([words(10)] * 8), "\n".join([words(10)] * 9)]
    manifest = make(tmp_path, texts, [token for token in WORDS if token not in ("wa", "wc", "wd", "wj")])
    assert manifest["shares"]["unknown"] == pytest.approx(4 / 11, abs=1e-6)
    assert any(text.startswith("36.4% of the tokens are [UNK]") for text in manifest["warnings"])
    assert "warning: 36.4% of the tokens are [UNK]" in summary(manifest)


def test_too_few_predictions_for_the_length_are_told(tmp_path):
    texts = ["\n".join(words(30, first) for first in range(60)) for _ in range(2)]
    manifest = make(tmp_path, texts, WORDS, max_seq_length=512, max_predictions_per_seq=20, pairs="none")
    assert 0.035 < manifest["shares"]["masked_tokens"] < 0.05
    assert any("--max_predictions_per_seq=20 out" in text for text in manifest["warnings"])


@pytest.mark.parametrize(("length", "expected"), [(128, 20), (512, 80), (64, 10), (5, 5)])
def test_predictions_follow_from_the_length(length, expected):
    assert InstanceConfig(max_seq_length=length).layout.max_predictions_per_seq == expected
    assert InstanceConfig(max_seq_length=length) == InstanceConfig(
        max_seq_length=length, max_predictions_per_seq=expected
    )
    assert InstanceConfig(max_seq_length=length, masking="none").layout.max_predictions_per_seq == 0


def test_packing_is_not_undone_by_the_default(tmp_path):
    texts = [words(24 + first // 10, first) + "\n" + words(28, first + 1) for first in range(80)]
    manifest = make(tmp_path, texts, WORDS, max_seq_length=512, packing=True, short_seq_prob=0.0)
    assert manifest["shares"]["instances_a_row"] > 6  # of some 60 tokens each
    assert manifest["shares"]["masked_tokens"] > 0.14


def test_a_single_document_has_no_random_next_sentence(tmp_path):
    manifest = make(tmp_path, ["\n".join(words(20, first) for first in range(200))], WORDS)
    assert manifest["shares"]["label_1"] == 0
    assert any(text.startswith("0.0% of the pairs have label 1") for text in manifest["warnings"])


def test_rows_are_counted_by_length(tmp_path):
    # One row of 2 + 7 tokens, and one of 2 + 14 of at most 16: in the ranges up to 10 and 16.
    manifest = make(tmp_path, [words(6)], WORDS, max_seq_length=16, pairs="none")
    counts = {name: n for name, n in manifest["counts"].items() if name.startswith("rows_up_to_")}
    assert counts == {f"rows_up_to_{bound}": int(bound == 10) for bound in (2, 4, 6, 8, 10, 12, 14, 16)}
    assert "10: 100%" in quality.report(manifest)


def manifest_of(shards: list[tuple[int, int]], **shares) -> dict:
    """A dataset.json of shards of (pairs with label 1, pairs)."""
    total = sum(count for count, _ in shards) / sum(pairs for _, pairs in shards)
    return {
        "shares": {"unknown": 0.0, "unused": 0.0, "masked_tokens": 0.15, "padding": 0.1, "label_1": total, **shares},
        "counts": {"documents_read": 100, "passes_over_documents": 280},
        "parameters": {
            "instances": {"masked_lm_prob": 0.15, "max_predictions_per_seq": 20, "packing": False},
            "dupe_factor": 3,
            "validation_fraction": 0.1,
        },
        "shards": [{"counts": {"label_1": count, "instances": pairs}} for count, pairs in shards],
    }


@pytest.mark.parametrize(
    ("shards", "warned"),
    [
        ([(50, 100), (51, 100)], None),
        ([(60, 100), (40, 100)], None),
        ([(0, 3)], None),  # chance does it once in eight times
        ([(0, 30)], "0.0% of the pairs have label 1"),
        ([(500, 1000), (720, 1000), (500, 1000)], "1 of 3 shards have far more or fewer"),
    ],
)
def test_labels_far_from_one_half_are_told(shards, warned):
    found = quality.warnings(manifest_of(shards))
    assert (not found) if warned is None else found[0].startswith(warned)


@pytest.mark.parametrize(
    ("share", "value", "beginning"),
    [
        ("unknown", 0.011, "1.1% of the tokens are [UNK]"),
        ("unused", 0.02, "2.0% of the tokens are in no instance"),
        ("masked_tokens", 0.048, "4.8% of the tokens are masked where --masked_lm_prob=0.15 asks for 15.0%"),
        ("padding", 0.5, "50% of the positions are padding"),
    ],
)
def test_each_threshold_has_its_sentence(share, value, beginning):
    (found,) = quality.warnings(manifest_of([(50, 100)], **{share: value}))
    assert found.startswith(beginning)


def test_dropped_documents_are_counted_once_for_all_passes():
    manifest = manifest_of([(50, 100)])  # three passes over 90 of 100 documents, and one over 10
    manifest["counts"] |= {"dropped_duplicates": 60, "passes_over_documents": 141}
    assert not quality.warnings(manifest)
    manifest["counts"]["passes_over_documents"] = 139
    (found,) = quality.warnings(manifest)
    assert found.startswith("50% of the documents were dropped")


def test_bytes_that_were_not_read_are_told():
    manifest = manifest_of([(50, 100)])
    manifest["reading"] = {"bytes": 5000, "bytes_lost": 1200, "bytes_in_bad_records": 34, "lost_files": 1}
    manifest["counts"]["bad_records"] = 2
    (found,) = quality.warnings(manifest)
    assert found.startswith("1,234 bytes of the input were not read, in 1 lost files and 2 bad records.")
    assert "not read                1,234 of 5,000 bytes, 2 bad records" in quality.report(manifest)


def test_shares_are_ratios_of_the_counts():
    counts = {
        "instances": 4,
        "rows": 4,
        "tokens": 200,
        "tokens_unknown": 2,
        "tokens_unused": 10,
        "instance_tokens": 100,
        "label_1": 1,
        "predictions": 15,
        "predictions_masked": 12,
        "predictions_kept": 2,
    }
    found = quality.shares(counts, RecordLayout(max_seq_length=32, max_predictions_per_seq=5))
    assert found == {
        "unknown": 0.01,
        "unused": 0.05,
        "padding": 0.21875,
        "label_1": 0.25,
        "masked_tokens": 0.15,
        "predictions_an_instance": 3.75,
        "masked": 0.8,
        "kept": 0.133333,
        "random": 0.066667,
    }


def test_the_report_is_printed_and_old_folders_have_what_they_counted(shards, command, tmp_path):
    shown = command("pipelines.inspect_shards", shards, "-n", 0)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("quality\n  not read")
    assert "\n  [UNK]" in shown.stdout
    assert "rows by length" in shown.stdout
    copy = shutil.copytree(shards, tmp_path / "copy")
    manifest = json.loads((copy / "dataset.json").read_text())
    manifest["shares"] = {name: manifest["shares"][name] for name in ("padding", "label_1", "masked", "kept", "random")}
    manifest["counts"] = {n: c for n, c in manifest["counts"].items() if not n.startswith("rows_up_to_")}
    (copy / "dataset.json").write_text(json.dumps(manifest))
    old = command("pipelines.inspect_shards", copy, "-n", 1)
    assert (old.returncode, old.stderr) == (0, "")
    assert "label 1" in old.stdout
    assert "[UNK] " not in old.stdout.split("record 0")[0]


@pytest.mark.parametrize(("field", "value"), [("max_word_length", 0), ("max_predictions_per_seq", 0)])
def test_wrong_settings_are_refused(field, value):
    with pytest.raises(InputError, match=f"--{field} must .* Received: {value}"):
        InstanceConfig(**{field: value})
