"""Schemes of tags: what they name, and what is refused."""

import pytest

from bert_tf.core.errors import InputError
from bert_tf.tasks.tagging import schemes

# The same three entities: PER of words 0 to 2, PER of word 3, LOC of word 5.
SAME = {
    "IOB1": "I-PER I-PER I-PER B-PER O I-LOC",
    "IOB2": "B-PER I-PER I-PER B-PER O B-LOC",
    "BIOES": "B-PER I-PER E-PER S-PER O S-LOC",
    "BILOU": "B-PER I-PER L-PER U-PER O U-LOC",
    "BMES": "B-PER M-PER E-PER S-PER O S-LOC",
    "BMEWO": "B-PER M-PER E-PER W-PER O W-LOC",
}


def of(tags: str, place="a:"):
    return schemes.scheme_of((tag, f"{place}{number}") for number, tag in enumerate(tags.split(), start=1))


@pytest.mark.parametrize("name", SAME)
def test_every_scheme_names_the_same_entities(name):
    tags = SAME[name].split()
    assert schemes.spans_of_tags(tags) == [("PER", 0, 3), ("PER", 3, 4), ("LOC", 5, 6)]
    scheme = of(SAME[name])
    assert scheme.name == ("IOB" if name.startswith("IOB") else name)
    counts = schemes.count([tags], scheme.name)
    assert counts.pop(f"entities, tagged in {scheme.name}") == 3
    assert sum(counts.values()) == (2 if name == "IOB1" else 0)


def test_io_joins_what_it_cannot_tell_apart():
    assert schemes.spans_of_tags(["I-PER", "I-PER", "I-PER", "I-PER", "O", "I-LOC"]) == [("PER", 0, 4), ("LOC", 5, 6)]


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ("B-X I-X E-X U-Y", "a:4: expected tags of one scheme, BIOES as before. Received: 'U-Y', of BILOU."),
        ("B-X M-X E-X O I-X", "a:5: expected tags of one scheme, BMES or BMEWO as before. Received: 'I-X', of IOB or"),
        ("I-X E-X O", "a:2: expected tags of IOB, BIOES, BILOU, BMES, BMEWO. Received: 'E-X' without any B- or S-"),
        ("O B-X domain=train", "a:3: expected O or a tag of an entity such as B-X. Received: 'domain=train'."),
        ("(PER* *)", "a:1: expected one tag a word. Received: '(PER*', CoNLL-2012's brackets."),
    ],
)
def test_mixtures_are_refused_by_name_and_place(tags, sentence):
    with pytest.raises(InputError) as error:
        of(tags)
    assert sentence in str(error.value)


def test_tags_that_name_no_entities_have_no_scheme():
    # Of the Brown corpus, some of which look like others.
    assert of("AT NN ( ) * BEDZ* S-X") is None
    assert not schemes.names_entities(["DT", "NN"]) and schemes.names_entities(["O", "S-X", "L-X"])


@pytest.mark.parametrize(
    ("tags", "tag", "expected"),
    [
        ("B-X O", "B-X", "I-X"),
        ("I-X O", "I-X", "I-X"),
        ("B-X I-X E-X S-X", "S-X", "I-X"),
        ("B-X L-X U-X", "L-X", "I-X"),
        ("B-X M-X E-X S-X", "S-X", "M-X"),
        ("B-X O", "O", "O"),
        ("NN VB", "NN", "NN"),
    ],
)
def test_further_units_of_a_word_go_on(tags, tag, expected):
    assert schemes.inside(tag, tags.split()) == expected
    if tag != "O" and "-" in tag:  # a word of three units is one entity
        assert schemes.spans_of_tags([tag, expected, expected, "O"]) == [("X", 0, 3)]


def test_tags_out_of_order_are_counted():
    assert schemes.count([["B-X", "O", "E-X"], ["I-X"]], "BIOES") == {
        "entities, tagged in BIOES": 3,
        # B- that does not go on, E- and I- that nothing begins, I- that nothing ends.
        "tags out of order for BIOES": 4,
    }
