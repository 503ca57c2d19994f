"""The pipeline beside plain renderings of google-research/bert's script, on one real corpus with the same settings.

One has the differences that pipelines/instances/sentence_pairs.py lists, and must agree; one is as published.
"""

import json
import pathlib
import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from bert_tf.core import records
from bert_tf.text.vocabulary import CLS, MASK, SEP, Vocabulary
from bert_tf.text.wordpiece import Tokenizer
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data
from pipelines.jobs.vocabulary_learning import build_vocab
from pipelines.reading.sentences import split_sentences
from quickstart.corpus import docstrings_of, prose
from tests.support import reference_instances

# A document aims at a short length or not in each pass, and a few large ones weigh much: one pass says little.
_PASSES = 16


@pytest.fixture(scope="module")
def prose_by_module(tmp_path_factory):
    """Keras' docstrings, one document for each module: 1.5 MB of English, long and short documents."""
    folder = tmp_path_factory.mktemp("prose")
    texts = []
    for path in sorted(pathlib.Path(keras.__file__).parent.rglob("*.py")):
        lines = [line for text in docstrings_of(str(path)) for line in prose(text).split("\n")]
        texts.append("\n".join(lines))
    texts = [text for text in dict.fromkeys(texts) if len(split_sentences(text)) > 1]
    (folder / "keras.txt").write_text("\n\n".join(texts))
    build_vocab(input_patterns=[str(folder / "keras.txt")], output=str(folder / "vocab.txt"), vocab_size=4000)
    return folder, texts


@pytest.fixture(scope="module")
def ours(prose_by_module) -> dict[str, np.ndarray]:
    folder, _ = prose_by_module
    config = JobConfig(instances=InstanceConfig(), num_shards=4, validation_fraction=0, dupe_factor=_PASSES)
    create_pretraining_data(
        input_patterns=[str(folder / "keras.txt")],
        vocab=str(folder / "vocab.txt"),
        output_dir=str(folder / "shards"),
        config=config,
    )
    paths = [str(path) for path in sorted((folder / "shards").glob("pretrain-*"))]
    batch = next(iter(tf.data.TFRecordDataset(paths).batch(1_000_000)))
    return {name: x.numpy() for name, x in records.parse(batch, config.instances.layout).items()}


def _instances(prose_by_module, kind, **settings) -> list[reference_instances.Instance]:
    folder, texts = prose_by_module
    vocabulary = Vocabulary.load(str(folder / "vocab.txt"))
    tokenizer = Tokenizer(vocabulary)
    documents = [tokenizer.tokenize(split_sentences(text)).to_list() for text in texts]
    reference = kind(
        cls=vocabulary[CLS], sep=vocabulary[SEP], mask=vocabulary[MASK], vocab_size=len(vocabulary), **settings
    )
    rng = random.Random(7)
    return [instance for _ in range(_PASSES) for instance in reference.instances(documents, rng)]


@pytest.fixture(scope="module")
def theirs(prose_by_module) -> list[reference_instances.Instance]:
    vocabulary = Vocabulary.load(str(prose_by_module[0] / "vocab.txt"))
    return _instances(
        prose_by_module,
        reference_instances.LosslessReference,
        begins_word=lambda token: not vocabulary.tokens[token].startswith("##"),
    )


@pytest.fixture(scope="module")
def as_published(prose_by_module) -> list[reference_instances.Instance]:
    return _instances(prose_by_module, reference_instances.Reference)


def test_number_and_length_of_instances_are_the_same(ours, theirs):
    lengths = ours["input_mask"].sum(axis=1)
    their_lengths = np.array([len(instance.token_ids) for instance in theirs])
    assert len(lengths) == pytest.approx(len(theirs), rel=0.03)
    assert lengths.mean() == pytest.approx(their_lengths.mean(), rel=0.02)


def test_what_the_script_truncates_makes_more_instances_as_long_and_as_random(ours, as_published, prose_by_module):
    """The script loses half a sentence a pair: 126 tokens of about 136."""
    manifest = json.loads((prose_by_module[0] / "shards/dataset.json").read_text())
    assert manifest["counts"]["tokens_unused"] == 0
    lengths = ours["input_mask"].sum(axis=1)
    assert 1.02 < len(lengths) / len(as_published) < 1.15
    assert lengths.mean() == pytest.approx(np.mean([len(i.token_ids) for i in as_published]), rel=0.04)
    random_next = np.mean([i.is_random_next for i in as_published])
    assert ours["next_sentence_labels"].mean() == pytest.approx(random_next, abs=0.03)


def test_share_of_random_next_sentences_is_the_same(ours, theirs):
    share = ours["next_sentence_labels"].mean()
    their_share = np.mean([instance.is_random_next for instance in theirs])
    # Above a half by what a single sentence, which can only have a random one behind it, adds on either side.
    assert share == pytest.approx(their_share, abs=0.02)


def test_first_segments_are_as_long(ours, theirs):
    first = ((ours["input_type_ids"] == 0) & (ours["input_mask"] == 1)).sum(axis=1) - 2
    their_first = [instance.first_length for instance in theirs]
    # As many as one pass makes: instances of several passes over the same documents are not independent.
    rng = np.random.default_rng(0)
    some = [rng.choice(lengths, len(lengths) // _PASSES, replace=False) for lengths in (first, their_first)]
    assert stats.ks_2samp(*some).pvalue > 0.01


def test_masks_have_the_same_shares(ours, theirs):
    weights = ours["masked_lm_weights"] == 1
    assert weights.sum(axis=1).mean() == pytest.approx(np.mean([len(i.masked_ids) for i in theirs]), rel=0.02)
    now = np.take_along_axis(ours["input_word_ids"], ours["masked_lm_positions"], axis=1)[weights]
    hidden = ours["masked_lm_ids"][weights]
    mask = np.bincount(now).argmax()
    masked, kept = (now == mask).mean(), (now == hidden).mean()
    assert masked == pytest.approx(0.8, abs=0.005)
    assert kept == pytest.approx(0.1, abs=0.005)
    assert 1 - masked - kept == pytest.approx(0.1, abs=0.005)
