import functools

import numpy as np
import pytest

from bert_tf.core.errors import InputError
from bert_tf.tasks.graph import TaskGraph
from bert_tf.tasks.tagging.scores import entity_scores
from bert_tf.tasks.token_classification import TagDataConfig, TokenClassification
from bert_tf.text.vocabulary import SPECIAL_TOKENS
from bert_tf.text.wordpiece import Tokenizer
from tests.support import reference_decoding as reference

TOKENS = [*SPECIAL_TOKENS, "a", "b", "##c", "##d", "e", ".", "/", "中", "国"]
A, B, C, D, E, DOT, SLASH = range(5, 12)
LABELS = ["B-X", "I-X", "O"]


def task(length=8, labels=LABELS):
    return TokenClassification(labels=labels, data=TagDataConfig(max_seq_length=length))


@functools.cache
def made_tokenizer():
    return Tokenizer(TOKENS)


@pytest.fixture
def tokenizer():
    return made_tokenizer()


def read(path, text, labelled=True, **changes):
    path.write_text(text)
    return TokenClassification.read(TagDataConfig(**changes), str(path), "data.train", labelled=labelled)


def test_bad_lists_are_one_clear_sentence(tmp_path):
    with pytest.raises(InputError, match="a.jsonl:1: expected as many tags as words. Received 2 words and 1 tags."):
        read(tmp_path / "a.jsonl", '{"text": ["a", "b"], "label": ["O"]}\n')
    with pytest.raises(InputError, match="b.jsonl:1: text: expected a list of texts. Received: dict."):
        read(tmp_path / "b.jsonl", '{"text": {"a": "b"}, "label": ["O"]}\n')


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


def learned(example, labels=LABELS, length=16):
    """(piece, tag that it learns) of an example's only row, without padding."""
    from_row = TaskGraph(task(length, labels), made_tokenizer()).rows([example], labelled=True)
    row = {name: values[0] for name, values in from_row.arrays.items()}
    tags = [labels[i] if w else None for i, w in zip(row["label_ids"], row["label_weights"], strict=True)]
    pairs = [(TOKENS[i], tag) for i, tag in zip(row["input_word_ids"], tags, strict=True)]
    return pairs[1 : int(row["input_mask"].sum()) - 1], from_row.notes


@pytest.mark.parametrize(
    ("tags", "labels", "expected"),
    [
        ("B-X O B-X", ["B-X", "I-X", "O"], "B-X I-X I-X None I-X O B-X I-X I-X"),
        ("I-X O I-X", ["I-X", "O"], "I-X I-X I-X None I-X O I-X I-X I-X"),
        ("B-X I-X E-X", ["B-X", "I-X", "E-X", "S-X"], "B-X I-X I-X None I-X I-X E-X I-X I-X"),
        ("S-X O S-X", ["S-X", "I-X", "O"], "S-X I-X I-X None I-X O S-X I-X I-X"),
        ("N V N", ["N", "V"], "N N N None N V N N N"),
    ],
)
def test_every_unit_of_a_word_learns_its_tag(tags, labels, expected):
    """It was the first piece of the word alone, and a text was answered piece by piece."""
    found, _ = learned({"place": "x", "words": ["a/bc.", "e", "a/a"], "tags": tags.split()}, labels)
    assert " ".join(str(tag) for _, tag in found) == expected
    assert " ".join(piece for piece, _ in found) == "a / b ##c . e a / a"


def test_a_text_learns_what_its_words_do():
    of_words, _ = learned({"place": "x", "words": ["a/bc", "e", "e"], "tags": ["B-X", "I-X", "O"]})
    of_text, notes = learned({"place": "x", "text": "a/bc e e", "entities": [("X", 0, 6)]})
    assert of_words == of_text and notes == {"entities": 1}
    # In Chinese every ideograph is a unit, whether the words are given or not.
    expected = [("中", "B-X"), ("国", "I-X"), ("a", "O")]
    assert learned({"place": "x", "words": ["中国", "a"], "tags": ["B-X", "O"]})[0] == expected
    assert learned({"place": "x", "text": "中国a", "entities": [("X", 0, 2)]})[0] == expected


def test_entities_off_the_units_are_counted_and_not_learned():
    entities = [("X", 0, 1), ("X", 2, 3), ("X", 5, 8), ("X", 7, 8)]
    found, notes = learned({"place": "x", "text": "a bc e e", "entities": entities})
    assert [tag for _, tag in found] == ["B-X", None, None, "B-X", "I-X"]
    assert notes == {
        "entities": 4,
        "of them overlap a longer one and are not learned": 1,
        "of them begin or end within a word of the tokenizer and are not learned": 1,
    }


def test_labels_have_what_further_units_need():
    data = TagDataConfig()
    examples = [{"place": "x:1", "tags": ["B-DATE", "O"]}, {"place": "x:2", "text": "a", "entities": [("PER", 0, 1)]}]
    assert TokenClassification.learn_labels(examples, data, "f") == ["B-DATE", "B-PER", "I-DATE", "I-PER", "O"]
    assert TokenClassification.learn_labels([{"place": "x:1", "tags": ["S-X", "O"]}], data, "f") == ["I-X", "O", "S-X"]
    with pytest.raises(
        InputError, match="x:2: expected tags of one scheme, BIOES or BMES as before. Received: 'U-X', of BILOU."
    ):
        TokenClassification.learn_labels(
            [{"place": f"x:{n}", "tags": [t]} for n, t in ((1, "S-X"), (2, "U-X"))], data, "f"
        )
    # Given labels stay as they are: what they cannot say is not learned, and counted.
    found, notes = learned({"place": "x", "words": ["a/e", "e"], "tags": ["B-X", "O"]}, ["B-X", "O"])
    assert [tag for _, tag in found] == ["B-X", None, None, "O"]
    assert notes["parts of words are not learned, since data.labels has no I- for them"] == 2


def test_given_words_are_answered_by_their_first_unit(tokenizer):
    example = {"place": "x", "words": ["a/bc", "e.", "", "a"]}
    graph = TaskGraph(task(length=6), tokenizer)
    rows = graph.rows([example], labelled=False)
    # A word may go on in the next row.
    assert rows.arrays["input_word_ids"].tolist() == [[2, A, SLASH, B, C, 3], [2, E, DOT, 1, A, 3]]
    logits = np.zeros((2, 6, 3), np.float32)
    logits[..., 2] = 1.0
    logits[0, 1, 0] = logits[0, 2, 1] = logits[0, 3, 0] = 3.0  # what the other units say counts in texts only
    logits[1, 1, 1] = 3.0
    answer = graph.answers([example], rows, {"logits": logits})[0]
    assert answer["tags"] == ["B-X", "I-X", "O", "O"]
    assert answer["entities"] == [{"type": "X", "words": [0, 2], "text": "a/bc e."}]


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
    entity = {"type": "X", "words": [1, 3], "text": "a bc", "bytes": [3, 7], "start": 2, "end": 6}
    assert answer["entities"] == [entity]


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
    entity = {"type": "P", "words": [1, 3], "text": "a a", "bytes": [2, 5], "start": 2, "end": 5}
    assert answers[0]["entities"] == [entity]


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


def test_an_entity_of_white_space_is_missed():
    found = entity_scores([[("X", 3, 3), ("X", 0, 2)]], [[("X", 0, 2), ("X", 3, 5)]])
    assert found == {"precision": 0.5, "recall": 0.5, "f1": 0.5}


def test_texts_are_scored_beside_words_and_show_what_words_hide():
    """A model that knows first pieces only is perfect on words: 9 is a DATE, and so is each slash by itself."""
    tagger = task(labels=["B-X", "I-X", "B-Y", "O"])
    truth = [{"place": "x", "words": ["a", "9/7", "e"], "tags": ["O", "B-X", "B-Y"]}]
    assert tagger.scores(truth, [{"tags": ["O", "B-X", "B-Y"]}])["f1"] == 1.0
    (asked,) = tagger.as_asked(truth)
    assert asked == {"place": "x", "text": "a 9/7 e", "entities": [("X", 2, 5), ("Y", 6, 7)]}
    found = [("X", 2, 3), ("X", 3, 4), ("Y", 4, 5), ("Y", 6, 7)]
    answers = [{"text": asked["text"], "entities": [{"type": t, "start": b, "end": e} for t, b, e in found]}]
    assert tagger.scores_as_asked([asked], answers) == {
        "text_precision": 1 / 4,
        "text_recall": 1 / 2,
        "text_f1": pytest.approx(1 / 3),
    }
    # The text that the file has is taken as it is; Chinese has no spaces.
    (asked,) = tagger.as_asked([{"place": "x", "words": ["a", "9", "."], "tags": ["O", "B-X", "O"], "text": "a 9."}])
    assert (asked["text"], asked["entities"]) == ("a 9.", [("X", 2, 3)])
    chinese = TokenClassification(labels=LABELS, data=TagDataConfig(word_separator=""))
    (asked,) = chinese.as_asked([{"place": "x", "words": ["中", "国", "人"], "tags": ["B-X", "I-X", "O"]}])
    assert (asked["text"], asked["entities"]) == ("中国人", [("X", 0, 2)])


def test_texts_with_entities_are_scored():
    text = "a bc. e"
    truth = [{"place": "x", "text": text, "entities": [("X", 0, 4), ("X", 6, 7)]}]
    answer = {"text": text, "bytes": [[0, 1], [2, 4], [4, 5], [6, 7]], "tags": ["B-X", "I-X", "I-X", "B-X"]}
    answer["entities"] = [{"type": "X", "start": 0, "end": 5}, {"type": "X", "start": 6, "end": 7}]
    scores = task().scores(truth, [answer])
    assert (scores["f1"], scores["accuracy"], scores["words"]) == (0.5, 3 / 4, 4)
    assert task().as_asked(truth) == []
    training = [{"place": "y", "text": "a bc. a e", "entities": [("X", 0, 4), ("X", 8, 9)]}]
    assert task().baseline(training, truth) == {"usual_tag_baseline_f1": 1.0}
    assert task().confusion(truth, [answer]).tolist() == [[2, 0, 0], [0, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    "tags",
    [
        "B-X I-X E-X O S-X",
        "B-X I-X L-X O U-X",
        "B-X M-X E-X O W-X",
        "B-X I-X I-X O B-X",
        "I-X I-X I-X O I-X",
    ],
)
def test_entities_of_texts_are_tagged_in_the_scheme_of_the_labels(tags):
    """They were scored as IOB2, so a perfect answer in BIOES had an accuracy of 2/5."""
    tags, labels = tags.split(), sorted(set(tags.split()))
    truth = {"place": "x", "text": "a bc e a b", "entities": [("X", 0, 6), ("X", 9, 10)]}
    learns, _ = learned(truth, labels)
    assert [tag for piece, tag in learns if piece != "##c"] == tags
    task(labels=labels).check_labels([truth])
    answer = {"text": "a bc e a b", "bytes": [[0, 1], [2, 4], [5, 6], [7, 8], [9, 10]], "tags": tags}
    answer["entities"] = [{"type": "X", "start": 0, "end": 6}, {"type": "X", "start": 9, "end": 10}]
    scores = task(labels=labels).scores([truth], [answer])
    assert (scores["f1"], scores["accuracy"], scores["words"]) == (1.0, 1.0, 5)
    with pytest.raises(InputError, match="x: expected an entity of X. Received: 'Y'."):
        task(labels=labels).check_labels([{**truth, "entities": [("Y", 0, 1)]}])


def test_tags_that_name_no_entities_have_accuracy():
    tagger = task(labels=["DT", "NN"])
    assert (tagger.metric, task().metric) == ("accuracy", "f1")
    truth = [{"words": ["the", "cat"], "tags": ["DT", "NN"]}]
    scores = tagger.scores(truth, [{"tags": ["NN", "NN"]}])
    # F1: DT 0, NN 2 x 1 / (1 + 2).
    assert (scores["accuracy"], scores["macro_f1"]) == (0.5, pytest.approx((0 + 2 / 3) / 2))
    training = [{"words": ["the", "cat", "the"], "tags": ["DT", "NN", "NN"]}, {"words": ["the"], "tags": ["DT"]}]
    assert tagger.baseline(training, truth) == {"usual_tag_baseline_accuracy": 1.0}
