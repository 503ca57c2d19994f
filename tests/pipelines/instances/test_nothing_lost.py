"""Text to shards in scripts whose sentences were not found, counted token by token."""

import random

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core import records
from bert_tf.core.errors import InputError
from bert_tf.text.vocabulary import SPECIAL_TOKENS
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data

GEORGIAN = "თბილისი დიდი ქალაქია მდინარე მტკვარი აქ მიედინება ზღვა შორს არის მთები თეთრია".split()  # noqa: SIM905


def _paragraphs(mark: str, documents: int = 150, sentences: int = 40) -> str:
    """Documents of one paragraph each, of sentences of 4 to 9 words."""
    rng = random.Random(0)
    return "\n\n".join(
        " ".join(" ".join(rng.choices(GEORGIAN, k=rng.randint(4, 9))) + mark for _ in range(sentences))
        for _ in range(documents)
    )


def _made(folder, text: str, **settings) -> tuple[dict, dict[str, np.ndarray]]:
    (folder / "text.txt").write_text(text)
    words = dict.fromkeys([*SPECIAL_TOKENS, *GEORGIAN, ".", *"abcdef"])
    (folder / "vocab.txt").write_text("\n".join(words))
    config = JobConfig(instances=InstanceConfig(masking="none", **settings), num_shards=1, validation_fraction=0)
    manifest = create_pretraining_data(
        input_patterns=[str(folder / "text.txt")],
        vocab=str(folder / "vocab.txt"),
        output_dir=str(folder / "shards"),
        config=config,
    )
    paths = [str(folder / "shards" / shard["name"]) for shard in manifest["shards"]]
    batch = next(iter(tf.data.TFRecordDataset(paths).batch(1_000_000)))
    return manifest, {name: x.numpy() for name, x in records.parse(batch, config.instances.layout).items()}


@pytest.mark.parametrize("pairs", ["next_sentence", "sentence_order", "none"])
@pytest.mark.parametrize("mark", [".", ""])
def test_150_paragraphs_of_40_sentences_stay_whole(tmp_path, pairs, mark):
    """With marks that are found, and with none at all; both made 150 rows of label 1, with a tenth of the tokens."""
    manifest, rows = _made(tmp_path, _paragraphs(mark), pairs=pairs)
    counts = manifest["counts"]
    assert counts["documents_read"] == 150
    assert counts["sentences"] == (6000 if mark else 150)
    assert counts["tokens_unused"] == 0
    first_or_own = rows["input_mask"].sum(axis=1) - (2 if pairs == "none" else 3)
    if pairs == "next_sentence":
        random_next = rows["next_sentence_labels"][:, 0] == 1
        first_or_own[random_next] -= (rows["input_type_ids"].sum(axis=1) - 1)[random_next]
        assert 0.4 < random_next.mean() < 0.65
    if pairs == "none":
        # Less the [SEP] between documents, of which every row has one at its end.
        first_or_own = first_or_own.sum() - ((rows["input_word_ids"] == 3).sum() - len(rows["input_mask"]))
    assert first_or_own.sum() == counts["tokens"]


def test_lines_as_they_are(tmp_path):
    text = "\n\n".join(f"{GEORGIAN[i % 5]} a. b. c. d.\n{GEORGIAN[i % 7]} e. f." for i in range(200))
    manifest, _ = _made(tmp_path, text, sentences="lines")
    assert manifest["counts"]["sentences"] == 2 * manifest["counts"]["passes_over_documents"]
    assert manifest["parameters"]["instances"]["sentences"] == "lines"
    with pytest.raises(InputError, match="instances.sentences = 'lines' instead of 'auto'"):
        _made(tmp_path, text)
