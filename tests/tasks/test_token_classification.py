import numpy as np
import pytest

from bert_tf.core.config_finetune import FinetuneDataConfig
from bert_tf.core.errors import InputError
from bert_tf.tasks.token_classification import TokenClassification, entities
from bert_tf.text.vocabulary import SPECIAL_TOKENS
from bert_tf.text.wordpiece import Tokenizer

TOKENS = [*SPECIAL_TOKENS, "a", "b", "##c", "##d", "e", "."]
A, B, C, D, E = range(5, 10)
LABELS = ["B-X", "I-X", "O"]


def task(length=8, labels=LABELS):
    return TokenClassification(labels=labels, data=FinetuneDataConfig(max_seq_length=length))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(TOKENS)


def read(path, text, labelled=True, **changes):
    path.write_text(text)
    return TokenClassification.read(FinetuneDataConfig(**changes), str(path), "data.train", labelled=labelled)


def test_conll_sentences_columns_and_documents(tmp_path):
    text = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\nPeter NNP B-NP B-PER\n"
    found = read(tmp_path / "a.conll", text)
    assert [(example["words"], example["tags"]) for example in found] == [
        (["EU", "rejects"], ["B-ORG", "O"]),
        (["Peter"], ["B-PER"]),
    ]
    assert [example["place"] for example in found] == [f"{tmp_path}/a.conll:3", f"{tmp_path}/a.conll:7"]
    assert read(tmp_path / "b.conll", text, tag_column=1)[1]["tags"] == ["NNP"]
    assert "tags" not in read(tmp_path / "c.conll", text, labelled=False)[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("EU B-ORG\n\tO\n", "a.conll:2: expected a word and its tag. Received: 'O'."),
        ("EU B-ORG\nrejects\n", "a.conll:2: expected a word and its tag. Received: 'rejects'."),
        ("EU B-ORG\nrejects\t\n", "a.conll:2: expected a word and its tag. Received no tag."),
        ("", "expected at least one sentence. Received an empty file."),
    ],
)
def test_bad_conll_is_one_clear_sentence(tmp_path, text, sentence):
    with pytest.raises(InputError) as error:
        read(tmp_path / "a.conll", text)
    assert sentence in str(error.value)


def test_bad_lists_are_one_clear_sentence(tmp_path):
    with pytest.raises(InputError, match="a.jsonl:1: expected as many tags as words. Received 2 words and 1 tags."):
        read(tmp_path / "a.jsonl", '{"text": ["a", "b"], "label": ["O"]}\n')
    with pytest.raises(InputError, match="b.jsonl:1: text: expected a list of texts. Received: str."):
        read(tmp_path / "b.jsonl", '{"text": "a b", "label": ["O"]}\n')


def test_the_first_piece_carries_the_tag(tokenizer):
    example = {"place": "x:1", "words": ["bc", "a", "\u200b"], "tags": ["B-X", "I-X", "O"]}
    arrays = task().rows([example], tokenizer, labelled=True).arrays
    # A word of which nothing is left is [UNK], so that it can be tagged.
    assert arrays["input_word_ids"].tolist() == [[2, B, C, A, 1, 3, 0, 0]]
    assert arrays["label_ids"].tolist() == [[0, 0, 0, 1, 2, 0, 0, 0]]
    assert arrays["label_weights"].tolist() == [[0, 1, 0, 1, 1, 0, 0, 0]]
    with pytest.raises(InputError, match="x:1: expected a label of B-X, I-X, O. Received: 'B-Y'."):
        task().rows([{**example, "tags": ["B-Y", "O", "O"]}], tokenizer, labelled=True)


def test_long_sentences_go_on_in_the_next_row(tokenizer):
    words = ["a", "bcd", "e", "a", "bccccc", "e"]
    example = {"place": "x", "words": words, "tags": ["O"] * 6}
    rows = task(length=6).rows([example, {"place": "y", "words": ["a"], "tags": ["O"]}], tokenizer, labelled=True)
    assert rows.arrays["input_word_ids"].tolist() == [
        [2, A, B, C, D, 3],
        [2, E, A, 3, 0, 0],
        [2, B, C, C, C, 3],
        [2, E, 3, 0, 0, 0],
        [2, A, 3, 0, 0, 0],
    ]
    assert rows.notes == {"continued in another row of 6 tokens": 1, "words cut": 1}
    logits = np.zeros((5, 6, 3))
    logits[..., 2] = 1.0
    logits[2, 1, 0] = 2.0
    answers = task(length=6).answers([example, {"words": ["a"]}], rows, {"logits": logits})
    assert answers[0]["tags"] == ["O", "O", "O", "O", "B-X", "O"]
    assert answers[0]["entities"] == [{"type": "X", "words": [4, 5], "text": "bccccc"}]
    assert answers[1]["tags"] == ["O"]


def test_a_text_is_split_into_words_with_their_bytes(tokenizer):
    example = {"place": "x", "text": "é a bc."}
    rows = task().rows([example], tokenizer, labelled=False)
    logits = np.zeros((1, 8, 3))
    logits[0, :, 2] = 1.0
    logits[0, 2, 0] = logits[0, 3, 1] = 3.0
    answer = task().answers([example], rows, {"logits": logits})[0]
    assert answer["words"] == ["é", "a", "bc", "."]
    assert answer["bytes"] == [[0, 2], [3, 4], [5, 7], [7, 8]]
    assert answer["tags"] == ["O", "B-X", "I-X", "O"]
    assert answer["entities"] == [{"type": "X", "words": [1, 3], "text": "a bc", "bytes": [3, 7]}]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-P I-P O", [("P", 1, 3)]),
        ("B-P B-P", [("P", 0, 1), ("P", 1, 2)]),
        ("B-P I-L I-L", [("P", 0, 1), ("L", 1, 3)]),
        ("O I-P", [("P", 1, 2)]),
        ("", []),
    ],
)
def test_entities_of_tags(tags, expected):
    assert entities(tags.split()) == expected


def test_entity_scores_by_hand():
    truth = [{"words": list("abcd"), "tags": ["B-X", "I-X", "O", "B-X"]}, {"words": ["e"], "tags": ["O"]}]
    found = [{"tags": ["B-X", "O", "O", "B-X"]}, {"tags": ["B-X"]}]
    scores = task().scores(truth, found)
    # Two entities; three are found, one of them with the right bounds.
    assert (scores["precision"], scores["recall"]) == (pytest.approx(1 / 3), 0.5)
    assert scores["f1"] == pytest.approx(2 * (1 / 3) * 0.5 / (1 / 3 + 0.5))
    assert scores["accuracy"] == 3 / 5
    nothing = task().scores(truth[1:], [{"tags": ["O"]}])
    assert nothing["f1"] == 0.0


def test_tags_that_name_no_entities_have_accuracy():
    tagger = task(labels=["DT", "NN"])
    assert (tagger.metric, task().metric) == ("accuracy", "f1")
    truth = [{"words": ["the", "cat"], "tags": ["DT", "NN"]}]
    scores = tagger.scores(truth, [{"tags": ["NN", "NN"]}])
    # F1: DT 0, NN 2 x 1 / (1 + 2).
    assert (scores["accuracy"], scores["macro_f1"]) == (0.5, pytest.approx((0 + 2 / 3) / 2))
    training = [{"words": ["the", "cat", "the"], "tags": ["DT", "NN", "NN"]}, {"words": ["the"], "tags": ["DT"]}]
    assert tagger.baseline(training, truth) == {"usual_tag_baseline_accuracy": 1.0}
