import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.core.errors import InputError
from pipelines.filtering import deciders
from pipelines.filtering.contamination import is_contaminated, read_excluded
from pipelines.filtering.near_duplicates import ngram_hashes
from pipelines.instances.pool import InstanceConfig
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data
from pipelines.reading.inputs import Part
from pipelines.reading.readers import Format, read_documents

WORDS = [f"word{number}" for number in range(40)]


def excluded(tmp_path, *texts, ngram=13):
    (tmp_path / "test.txt").write_text("\n\n".join(texts))
    return read_excluded([str(tmp_path / "test.txt")], ngram, Format())


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not(tmp_path):
    found = excluded(tmp_path, " ".join(WORDS[:20]))
    assert (len(found.hashes), found.texts, found.short_texts) == (8, 1, 0)
    for begin in range(8):
        shared = WORDS[begin : begin + 13]
        assert is_contaminated(" ".join(["before", *shared, "after"]), 13, found.hashes)
        assert not is_contaminated(" ".join(["before", *shared[1:], "after"]), 13, found.hashes)
    assert not is_contaminated(" ".join(reversed(WORDS)), 13, found.hashes)
    assert not is_contaminated("", 13, found.hashes)


def test_case_punctuation_and_lines_do_not_hide_a_text(tmp_path):
    found = excluded(tmp_path, "The quick, brown fox", ngram=3)
    assert is_contaminated("see:\nTHE QUICK\nBrown dog", 3, found.hashes)


def test_hashes_of_ngrams_agree_with_a_set_of_tuples():
    rng = np.random.default_rng(0)
    first, second = ([str(number) for number in rng.integers(0, 12, 400)] for _ in range(2))
    grams = [{tuple(words[i : i + 3]) for i in range(398)} for words in (first, second)]
    hashes = [np.unique(ngram_hashes(" ".join(words), 3)) for words in (first, second)]
    assert [len(some) for some in hashes] == [len(some) for some in grams]
    assert len(np.intersect1d(*hashes)) == len(grams[0] & grams[1]) > 0


def test_texts_that_exclude_nothing_are_counted_or_refused(tmp_path):
    found = excluded(tmp_path, " ".join(WORDS), "too short")
    assert found.summary() == "--exclude: 28 n-grams of 13 words in 2 texts; 1 of fewer words exclude nothing"
    with pytest.raises(InputError, match=r"a text of at least 13 words \(--exclude_ngram\). Received 1 shorter"):
        excluded(tmp_path, "too short")
    with pytest.raises(InputError, match="--exclude .*gone: expected at least one file"):
        read_excluded([str(tmp_path / "gone")], 13, Format())
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{}\n')
    with pytest.raises(InputError, match="bad.jsonl: expected evaluation texts that can be read. Received .* line 2"):
        read_excluded([str(tmp_path / "bad.jsonl")], 13, Format())


@pytest.fixture(scope="module")
def language_model(tmp_path_factory) -> str:
    """An exported classifier with the labels cat, dög and c."""
    from bert_tf.serving.export import saved_model
    from tests.support import served_models

    folder = tmp_path_factory.mktemp("language")
    served_models.write(str(folder / "model"), "classification")
    saved_model.export(str(folder / "model"), str(folder / "served"))
    return str(folder / "served/1")


def without_functions(texts):
    """A hook: texts that do not mention a function stay."""
    return ["function" not in text for text in texts]


def test_a_job_drops_and_counts_contaminated_and_filtered_documents(corpus, corpus_vocab, tmp_path, language_model):
    documents = list(read_documents(Part(str(corpus / "0.txt"))))
    # Evaluation texts: the middle of three documents.
    held_out = [" ".join(documents[index].split()[5:30]) for index in (3, 10, 20)]
    exclude = excluded(tmp_path, *held_out)
    contaminated = {text for text in documents if is_contaminated(text, 13, exclude.hashes)}
    assert {documents[index] for index in (3, 10, 20)} <= contaminated

    remaining = [text for text in documents if text not in contaminated]
    answers = tf.saved_model.load(language_model).signatures["serving_default"](text=tf.constant(remaining))
    scores = answers["probabilities"].numpy()[:, answers["labels"].numpy()[0].tolist().index(b"cat")]
    rule = f"{language_model}:cat>={np.median(scores):.3f}"
    by_model = [text for text, score in zip(remaining, scores, strict=True) if score >= float(rule.rpartition("=")[2])]
    assert 0 < len(by_model) < len(remaining)
    # The pipeline filters cleaned documents, which have the same words.
    by_both = [text for text, stays in zip(by_model, without_functions(by_model), strict=True) if stays]
    manifests = []
    for name in ("once", "again"):
        manifests.append(
            create_pretraining_data(
                input_patterns=[str(corpus / "0.txt")],
                vocab=str(corpus_vocab),
                output_dir=str(tmp_path / name),
                config=JobConfig(instances=InstanceConfig(max_seq_length=64), num_shards=2, validation_fraction=0),
                exclude=exclude,
                filters=[
                    deciders.parse(rule),
                    deciders.parse("tests.pipelines.filtering.test_contamination:without_functions"),
                ],
            )
        )
    counts = manifests[0]["counts"]
    assert counts["dropped_contaminated"] == len(contaminated)
    assert counts["dropped_filter_1"] == len(remaining) - len(by_model)
    assert counts["dropped_filter_2"] == len(by_model) - len(by_both)
    assert counts["passes_over_documents"] == len(set(by_both))
    assert [shard["sha256"] for shard in manifests[0]["shards"]] == [s["sha256"] for s in manifests[1]["shards"]]
    described = json.loads((tmp_path / "once/dataset.json").read_text())["filtering"]
    assert described["exclude"]["sha256"] == hashlib.sha256(exclude.hashes.tobytes()).hexdigest()
    assert described["exclude"]["texts"] == 3 and len(described["filters"][0]["sha256"]) == 64
    assert not list((tmp_path / "once").glob("exchange*"))
    card = (tmp_path / "once/README.md").read_text()
    assert f"| with an n-gram of --exclude | {len(contaminated)} |" in card
    with pytest.raises(InputError, match="expected an empty folder, or one made from the same filtering"):
        create_pretraining_data(
            input_patterns=[str(corpus / "0.txt")],
            vocab=str(corpus_vocab),
            output_dir=str(tmp_path / "once"),
            config=JobConfig(instances=InstanceConfig(max_seq_length=64), num_shards=2, validation_fraction=0),
        )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nothing", "expected MODEL:LABEL>=SHARE, MODEL:LABEL<SHARE or module:function"),
        ("gone:en>=0.5", "expected a SavedModel of bert_tf.export"),
        ("gone:en>=2", "expected a share from 0 to 1. Received: 2"),
        ("os.path:gone", "expected a function to import. Received: module 'posixpath' has no attribute 'gone'"),
    ],
)
def test_filters_that_cannot_decide_are_refused(text, sentence):

    with pytest.raises(InputError, match=f"--filter {text}: {sentence}"):
        deciders.parse(text)


def test_a_model_without_the_label_and_a_function_of_other_answers_are_refused(language_model):

    with pytest.raises(InputError, match="expected one of the labels cat, dög, c. Received: en"):
        deciders.parse(f"{language_model}:en>=0.5")
    with pytest.raises(InputError, match="expected True or False for each of 2 texts. Received 1"):
        deciders.load(deciders.Decider("builtins:set"))(["a", "a"])
