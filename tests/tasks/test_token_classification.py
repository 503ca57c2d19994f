import numpy as np
import pytest

from bert_tf.core.errors import InputError
from bert_tf.tasks.graph import TaskGraph
from bert_tf.tasks.token_classification import TagDataConfig, TokenClassification
from bert_tf.text.vocabulary import SPECIAL_TOKENS
from bert_tf.text.wordpiece import Tokenizer
from tests.support import reference_decoding as reference

TOKENS = [*SPECIAL_TOKENS, "a", "b", "##c", "##d", "e", "."]
A, B, C, D, E = range(5, 10)
LABELS = ["B-X", "I-X", "O"]


def task(length=8, labels=LABELS):
    return TokenClassification(labels=labels, data=TagDataConfig(max_seq_length=length))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(TOKENS)


def read(path, text, labelled=True, **changes):
    path.write_text(text)
    return TokenClassification.read(TagDataConfig(**changes), str(path), "data.train", labelled=labelled)


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
    graph = TaskGraph(task(), tokenizer)
    arrays = graph.rows([example], labelled=True).arrays
    # A word of which nothing is left is [UNK], so that it can be tagged.
    assert arrays["input_word_ids"].tolist() == [[2, B, C, A, 1, 3, 0, 0]]
    assert arrays["label_ids"].tolist() == [[0, 0, 0, 1, 2, 0, 0, 0]]
    assert arrays["label_weights"].tolist() == [[0, 1, 0, 1, 1, 0, 0, 0]]
    wrong = {**example, "tags": ["B-Y", "O", "O"]}
    with pytest.raises(InputError, match="x:1: expected a label of B-X, I-X, O. Received: 'B-Y'."):
        graph.rows([wrong], labelled=True)
    with pytest.raises(InputError, match="x:1: expected a label of B-X, I-X, O. Received: 'B-Y'."):
        graph.task.check_labels([example, wrong])


def test_long_sentences_go_on_in_the_next_row(tokenizer):
    words = ["a", "bcd", "e", "a", "bccccc", "e"]
    example = {"place": "x", "words": words, "tags": ["O"] * 6}
    examples = [example, {"place": "y", "words": ["a"], "tags": ["O"]}]
    graph = TaskGraph(task(length=6), tokenizer)
    rows = graph.rows(examples, labelled=True)
    assert rows.arrays["input_word_ids"].tolist() == [
        [2, A, B, C, D, 3],
        [2, E, A, 3, 0, 0],
        [2, B, C, C, C, 3],
        [2, E, 3, 0, 0, 0],
        [2, A, 3, 0, 0, 0],
    ]
    assert rows.arrays["label_weights"].sum(axis=1).tolist() == [2, 2, 1, 1, 1]
    assert rows.notes == {"continued in another row of 6 tokens": 1, "words truncated": 1}
    logits = np.zeros((5, 6, 3), np.float32)
    logits[..., 2] = 1.0
    logits[2, 1, 0] = 2.0
    answers = graph.answers(examples, rows, {"logits": logits})
    assert answers[0]["tags"] == ["O", "O", "O", "O", "B-X", "O"]
    assert answers[0]["entities"] == [{"type": "X", "words": [4, 5], "text": "bccccc"}]
    assert answers[0]["words"] == words and "bytes" not in answers[0]
    assert answers[1]["tags"] == ["O"]
    # exp(1) / (exp(1) + 2)
    assert answers[1]["probabilities"] == [0.576117]


def test_a_text_is_split_into_words_with_their_bytes(tokenizer):
    example = {"place": "x", "text": "é a bc."}
    graph = TaskGraph(task(), tokenizer)
    rows = graph.rows([example], labelled=False)
    logits = np.zeros((1, 8, 3), np.float32)
    logits[0, :, 2] = 1.0
    logits[0, 2, 0] = logits[0, 3, 1] = 3.0
    answer = graph.answers([example], rows, {"logits": logits})[0]
    assert answer["words"] == ["é", "a", "bc", "."]
    assert answer["bytes"] == [[0, 2], [3, 4], [5, 7], [7, 8]]
    assert answer["tags"] == ["O", "B-X", "I-X", "O"]
    assert answer["entities"] == [{"type": "X", "words": [1, 3], "text": "a bc", "bytes": [3, 7]}]


def test_a_text_and_a_list_without_words_have_a_row_and_no_tags(tokenizer):
    """Texts and lists may stand side by side."""
    examples = [
        {"place": "x", "text": " "},
        {"place": "x", "words": []},
        {"place": "x", "words": ["a", "e"]},
        {"place": "x", "text": "e"},
    ]
    graph = TaskGraph(task(), tokenizer)
    rows = graph.rows(examples, labelled=False)
    assert rows.arrays["input_word_ids"][:, :4].tolist() == [[2, 3, 0, 0], [2, 3, 0, 0], [2, A, E, 3], [2, E, 3, 0]]
    logits = np.zeros((4, 8, 3), np.float32)
    logits[..., 0] = 1.0
    answers = graph.answers(examples, rows, {"logits": logits})
    assert [answer["tags"] for answer in answers] == [[], [], ["B-X", "B-X"], ["B-X"]]
    assert [answer.get("bytes") for answer in answers] == [[], None, None, [[0, 1]]]
    assert [len(answer["entities"]) for answer in answers] == [0, 0, 2, 1]


def answers_of_tags(tags: list[list[str]], labels: list[str], tokenizer) -> list[dict]:
    """What is answered where the model gives each word of a text these tags."""
    examples = [{"place": "x", "text": " ".join("a" for _ in row)} for row in tags]
    length = max(map(len, tags)) + 3
    graph = TaskGraph(task(length, labels), tokenizer)
    logits = np.zeros((len(tags), length, len(labels)), np.float32)
    for row, names in enumerate(tags):
        for place, name in enumerate(names, start=1):
            logits[row, place, labels.index(name)] = 5.0
    return graph.answers(examples, graph.rows(examples, labelled=False), {"logits": logits})


def found_entities(answer: dict) -> list[tuple[str, int, int]]:
    return [(entity["type"], *entity["words"]) for entity in answer["entities"]]


def test_entities_of_tags(tokenizer):
    cases = {
        "O B-P I-P O": [("P", 1, 3)],
        "B-P B-P": [("P", 0, 1), ("P", 1, 2)],
        "B-P I-L I-L": [("P", 0, 1), ("L", 1, 3)],
        "O I-P": [("P", 1, 2)],
        "I-P I-P B-P I-P": [("P", 0, 2), ("P", 2, 4)],
        "": [],
    }
    answers = answers_of_tags([tags.split() for tags in cases], ["O", "I-P", "B-L", "B-P", "I-L"], tokenizer)
    for (tags, expected), answer in zip(cases.items(), answers, strict=True):
        assert (answer["tags"], found_entities(answer)) == (tags.split(), expected)
        assert reference.entities(tags.split()) == expected
    assert answers[0]["entities"] == [{"type": "P", "words": [1, 3], "text": "a a", "bytes": [2, 5]}]


def test_entities_of_any_tags_are_those_of_the_definition(tokenizer):
    rng = np.random.default_rng(0)
    labels = ["O", "B-P", "I-P", "B-L", "I-L", "I-M"]  # M never begins with B-
    tags = [rng.choice(labels, rng.integers(0, 12)).tolist() for _ in range(300)]
    for names, answer in zip(tags, answers_of_tags(tags, labels, tokenizer), strict=True):
        assert answer["tags"] == names
        assert found_entities(answer) == reference.entities(names)


@pytest.mark.parametrize("kind", ["words", "text"])
def test_rows_of_any_words_are_those_of_the_definition(tokenizer, kind):
    """Three hundred sentences of words of one to eight pieces, in rows of four to six."""
    rng = np.random.default_rng(1)
    for budget in (4, 6):
        lists = [["b" + "c" * rng.integers(0, 8) for _ in range(rng.integers(0, 9))] for _ in range(300)]
        examples = [{"place": "x", kind: words if kind == "words" else " ".join(words)} for words in lists]
        rows = TaskGraph(task(budget + 2), tokenizer).rows(examples, labelled=False)
        parts = [(words, reference.rows_of_words([len(w) for w in words], budget)) for words in lists]
        expected = []
        for words, stretches in parts:
            for first, last in stretches:
                ids = [2, *(i for word in words[first:last] for i in [B, *[C] * (len(word) - 1)][:budget]), 3]
                expected.append(ids + [0] * (budget + 2 - len(ids)))
        assert rows.arrays["input_word_ids"].tolist() == expected
        assert rows.notes == {
            f"continued in another row of {budget + 2} tokens": sum(len(stretches) > 1 for _, stretches in parts),
            "words truncated": sum(len(word) > budget for words in lists for word in words),
        }


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
