import pickle
import random

import apache_beam as beam
import numpy as np
import pytest

from pipelines.filtering.cleaning import DocumentConfig
from pipelines.filtering.duplicates import (
    WHOLE,
    FindDuplicates,
    duplicates_by_document,
    paragraph_key,
    without_duplicates,
)
from pipelines.filtering.near_duplicates import _WORD, band_keys, bands_and_rows, shingles, signature
from pipelines.reading.documents import document_id
from pipelines.running.options import local_options


def jaccard(first: str, second: str) -> float:
    """By the definition, over tuples of five words."""
    sets = []
    for text in (first, second):
        words = text.lower().split()
        sets.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def texts_of(similar: int, of: int, seed: int) -> tuple[str, str]:
    """Two texts of `of` words that agree in the first `similar`."""
    rng = random.Random(seed)
    words = [f"w{rng.randrange(10**9)}" for _ in range(2 * of)]
    return " ".join(words[:of]), " ".join(words[:similar] + words[of : 2 * of - similar])


def test_shingles_are_runs_of_five_words():
    assert len(shingles("one two three four five six")) == 2
    assert len(shingles("one two three")) == 1
    assert len(shingles("one two three four five " * 3)) == 5
    assert len(shingles("日本語の文です")) == 3
    np.testing.assert_array_equal(shingles("One, two: THREE four five."), shingles("one two three four five"))
    assert shingles("...").tolist() == []


def test_ideographs_are_words_beside_latin_letters_too():
    assert _WORD.findall("使用Python编写v2的程序") == [*"使用", "Python", *"编写", "v2", *"的程序"]
    assert len(shingles("使用Python编写的程序很好")) == len("使用P编写的程序很好") - 4


def test_signatures_agree_in_the_share_that_is_the_similarity():
    agreed = []
    first, second = texts_of(80, 100, 0)
    similarity = jaccard(first, second)
    for seed in range(40):
        a, b = texts_of(80, 100, seed)
        agreed.append((signature(a) == signature(b)).mean())
    # 40 x 128 comparisons: binomial, five standard deviations.
    assert np.mean(agreed) == pytest.approx(similarity, abs=5 * (similarity * (1 - similarity) / 5120) ** 0.5)


def test_bands_find_what_is_above_the_threshold():
    bands, rows = bands_and_rows(0.8)
    assert bands * rows <= 128
    assert 0.7 < (1 / bands) ** (1 / rows) < 0.85
    found = {}
    for similar in (40, 98):
        pairs = [texts_of(similar, 100, seed) for seed in range(50)]
        found[similar] = np.mean([bool(set(band_keys(a, 0.8)) & set(band_keys(b, 0.8))) for a, b in pairs])
    # Jaccard 0.23 and 0.96.
    assert found[40] == 0
    assert found[98] == 1
    assert band_keys("...", 0.8).tolist() == []


@pytest.fixture
def duplicates_of(tmp_path):
    """Runs FindDuplicates: what it tells each of three pools, where the last byte of an id chooses the pool."""

    def run(documents: list[str], **settings) -> dict[str, dict[bytes, set[int]]]:
        path = str(tmp_path / "found")

        def write(pairs):
            with open(path, "wb") as file:
                pickle.dump(pairs, file)

        with beam.Pipeline(options=local_options([])) as root:
            _ = (
                root
                | beam.Create([documents[:2], documents[2:]])
                | FindDuplicates(DocumentConfig(**settings), lambda identity: [f"pool {identity[-1] % 3}"], 1e9)
                | beam.combiners.ToList()
                | beam.Map(write)
            )
        by_pool = {}
        for pool, data in pickle.loads((tmp_path / "found").read_bytes()):
            by_pool.setdefault(pool, []).append(data)
        return {pool: duplicates_by_document(data) for pool, data in by_pool.items()}

    return run


def test_a_paragraph_stays_in_the_document_with_the_smallest_id(duplicates_of):
    documents = ["shared\nown one", "shared\nown two", "own three", "shared\nown four", "shared\nown one"]
    ids = sorted({document_id(text) for text in documents if "shared" in text})
    found = duplicates_of(documents, deduplicate_paragraphs=True)
    expected = {identity: {paragraph_key("shared")} for identity in ids[1:]}
    assert {i: lost for duplicates in found.values() for i, lost in duplicates.items()} == expected
    for pool, duplicates in found.items():
        assert all(f"pool {identity[-1] % 3}" == pool for identity in duplicates)
    assert without_duplicates("shared\nown", {paragraph_key("shared")}) == "own"


def test_of_near_duplicates_the_smallest_id_stays(duplicates_of):
    rng = random.Random(1)
    words = [f"w{rng.randrange(10**6)}" for _ in range(300)]
    near = [" ".join(words[:n] + ["changed"] + words[n + 1 :]) for n in (3, 150, 290)]
    far = " ".join(f"w{rng.randrange(10**6)}" for _ in range(300))
    found = duplicates_of([*near, far], near_duplicates=0.7)
    losers = {i: lost for duplicates in found.values() for i, lost in duplicates.items()}
    assert losers == {identity: {WHOLE} for identity in sorted(map(document_id, near))[1:]}
    assert without_duplicates("anything", {WHOLE}) is None


def test_without_options_nothing_is_duplicate(duplicates_of):
    assert duplicates_of(["same", "same", "same"]) == {}
