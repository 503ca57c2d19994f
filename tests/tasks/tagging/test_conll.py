"""CoNLL files of every kind, as people have them."""

import pytest

from bert_tf.core import config_io
from bert_tf.core.errors import InputError
from bert_tf.tasks.tagging import files
from bert_tf.tasks.tagging.files import TagDataConfig
from bert_tf.tasks.token_classification import TokenClassificationConfig

CONLLU = """# global.columns = ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC
# sent_id = 1
# text = Vámonos al mar.
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\tSpaceAfter=No
5.1\tgo\tgo\tVERB\t_\t_\t_\t_\t0:x\t_
6\t.\t.\tPUNCT\t_\t_\t1\tpunct\t_\t_

# text = # 5
1\t#\t#\tSYM\t_\t_\t0\troot\t_\t_
2\t5\t5\tNUM\t_\t_\t1\tnummod\t_\t_
"""


def read(path, text, labelled=True, **columns):
    path.write_text(text, encoding="utf-8", newline="")
    return files.read(TagDataConfig(**columns), str(path), "data.train", labelled=labelled)


def words_and_tags(examples):
    return [(example["words"], example.get("tags")) for example in examples]


def refusal(path, text, **columns):
    with pytest.raises(InputError) as error:
        read(path, text, **columns)
    return str(error.value)


def test_conll_2003(tmp_path):
    text = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\nPeter NNP B-NP B-PER\n"
    found = read(tmp_path / "a.conll", text)
    assert words_and_tags(found) == [(["EU", "rejects"], ["B-ORG", "O"]), (["Peter"], ["B-PER"])]
    assert [example["place"] for example in found] == [f"{tmp_path}/a.conll:3", f"{tmp_path}/a.conll:7"]
    assert read(tmp_path / "b.conll", text, tag_column=1)[1]["tags"] == ["NNP"]
    assert read(tmp_path / "b.conll", text, tag_column="-3", word_column="0")[1]["tags"] == ["NNP"]
    assert "tags" not in read(tmp_path / "c.conll", text, labelled=False)[0]


@pytest.mark.parametrize("space", ["\u00a0", "\u2009", "\u3000", "\u202f", "\x0b", "\x0c", "\x1f", "\u2028", "\x85"])
@pytest.mark.parametrize("separator", [" ", "\t", "   "])
def test_only_spaces_and_tabs_separate(tmp_path, space, separator):
    """A no-break space in "10 000" cut the word, and what followed was lost."""
    word = f"10{space}000"
    found = read(tmp_path / "a.conll", f"{word}{separator}B-NUM\nEuro{separator}O\r\n\t \n{space}{separator}O\n")
    assert words_and_tags(found) == [([word, "Euro"], ["B-NUM", "O"]), ([space], ["O"])]


def test_a_word_of_several_columns_is_not_cut(tmp_path):
    """The first column was read, and "York" was lost."""
    told = refusal(tmp_path / "a.conll", "in IN O\nNew York NNP B-LOC\n")
    assert "a.conll:2: expected 3 columns, as line 1 has. Received 4: 'New York NNP B-LOC'." in told
    # In a column of its own it is one word.
    assert read(tmp_path / "b.conll", "in\tIN\tO\nNew York\tNNP\tB-LOC\n")[0]["words"] == ["in", "New York"]
    # Sentences of CoNLL-2012 have a column for each of their verbs.
    assert len(read(tmp_path / "c.conll", "a A O\n\na x A O\n")) == 2


def test_conllu(tmp_path):
    found = read(tmp_path / "a.conllu", CONLLU, tag_column="UPOS")
    assert words_and_tags(found) == [
        (["Vamos", "nos", "a", "el", "mar", "."], ["VERB", "PRON", "ADP", "DET", "NOUN", "PUNCT"]),
        (["#", "5"], ["SYM", "NUM"]),
    ]
    assert [example["text"] for example in found] == ["Vámonos al mar.", "# 5"]
    assert found[0]["skipped"] == {
        "comment lines skipped": 3,
        "multiword lines (1-2) skipped": 2,
        "lines of empty nodes (1.1) skipped": 1,
    }
    plain = CONLLU.split("\n", 1)[1]
    assert words_and_tags(read(tmp_path / "b.conllu", plain, tag_column="UPOS")) == words_and_tags(found)
    assert words_and_tags(read(tmp_path / "c.conllu", plain, tag_column=3)) == words_and_tags(found)
    assert read(tmp_path / "d.conllu", plain, tag_column="UPOS", word_column="LEMMA")[0]["words"][0] == "ir"
    assert words_and_tags(read(tmp_path / "e.conllu", plain, labelled=False))[1] == (["#", "5"], None)
    told = refusal(tmp_path / "f.conllu", plain)
    assert "expected data.tag_column to name a column of CoNLL-U, such as UPOS. Received: -1, its MISC." in told
    told = refusal(tmp_path / "g.conllu", plain, tag_column="NER")
    assert "expected data.tag_column to be a number or one of ID, FORM, LEMMA, UPOS, XPOS" in told


def test_conllu_plus_and_numbered_words_of_other_widths(tmp_path):
    plus = "# global.columns = ID FORM UPOS NER\n1\tAda\tPROPN\tB-PER\n2\tran\tVERB\tO\n"
    assert words_and_tags(read(tmp_path / "a.conllup", plus)) == [(["Ada", "ran"], ["B-PER", "O"])]
    assert read(tmp_path / "b.conllup", plus, tag_column="NER")[0]["tags"] == ["B-PER", "O"]
    # Universal NER: number, word, tag, two columns more.
    uner = "# sent_id = 1\n# text = Ada ran\n1\tAda\tB-PER\t-\tx\n2\tran\tO\t-\tx\n"
    assert words_and_tags(read(tmp_path / "c.iob2", uner, tag_column=2)) == [(["Ada", "ran"], ["B-PER", "O"])]
    told = refusal(tmp_path / "d.iob2", uner + "x\tand\tO\t-\tx\n", tag_column=2)
    assert "d.iob2:5: expected the number of a word, as other lines have. Received: 'x'." in told


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(
    "text", ["1 O\n2 O\n", "1 B-NUM\n2 I-NUM\n\n1 S-NUM\n2 O\n", "1 CD\n2 CD\n7 CD\n", "1 CD\n2 CD\n1 CD\n"]
)
def test_words_that_are_numbers_are_words(tmp_path, text, labelled):
    """Without labels the tags became the words."""
    expected = [[line.split()[0] for line in sentence.splitlines()] for sentence in text.strip().split("\n\n")]
    assert [e["words"] for e in read(tmp_path / "a.conll", text, labelled=labelled)] == expected


def test_numbered_words_without_tags(tmp_path):
    text = "1\tEU\n2\trejects\n3\tO\n\n1\tOn\n2\t5\n"
    found = read(tmp_path / "a.conll", text, labelled=False)
    assert [e["words"] for e in found] == [["EU", "rejects", "O"], ["On", "5"]]


def test_comments_are_no_words_and_hashes_are(tmp_path):
    """A comment became a word whose tag named no entity: the metric was accuracy."""
    text = "# id 7f domain=train\n#Brexit _ _ B-E\n# _ _ O\n\n# id 8a domain=train\nok _ _ O\n\n# _ _ O\n"
    found = read(tmp_path / "a.conll", text)
    assert words_and_tags(found) == [(["#Brexit", "#"], ["B-E", "O"]), (["ok"], ["O"]), (["#"], ["O"])]
    found = read(tmp_path / "b.conll", "#begin document (a); part 0\na\tO\n\n#end document\n")
    assert words_and_tags(found) == [(["a"], ["O"])]
    assert words_and_tags(read(tmp_path / "c.conll", "# a b\n#x\ny\n", labelled=False)) == [(["#x", "y"], None)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("EU B-ORG\n\tO\n", "a.conll:2: expected a word and its tag. Received: 'O'."),
        ("EU B-ORG\nrejects\n", "a.conll:2: expected a word and its tag. Received: 'rejects'."),
        ("EU B-ORG\nrejects\t\n", "a.conll:2: expected a word and its tag. Received no tag."),
        ("EU NNP B-ORG\nrejects O\n", "a.conll:2: expected 3 columns, as line 1 has. Received 2: 'rejects O'."),
        ("EU\u00a0B-ORG\n", "a.conll:1: expected a word and its tag."),
        ("", "expected at least one sentence. Received an empty file."),
        ("# a b c\n", "expected at least one sentence. Received an empty file."),
    ],
)
def test_a_bad_line_is_one_clear_sentence(tmp_path, text, sentence):
    assert sentence in refusal(tmp_path / "a.conll", text)


def test_columns_are_set_by_number_or_name():
    config = config_io.override(TokenClassificationConfig(), ["data.tag_column=UPOS", "data.word_column=-2"])
    assert (config.data.tag_column, config.data.word_column) == ("UPOS", -2)


def test_a_column_that_is_not_there_is_named(tmp_path):
    assert "a.conll:1: expected the column data.tag_column=4. Received 2 columns." in refusal(
        tmp_path / "a.conll", "EU B-ORG\n", tag_column=4
    )
    assert "expected data.tag_column to be a number, since the columns have no names. Received: 'NER'." in refusal(
        tmp_path / "a.conll", "EU B-ORG\n", tag_column="NER"
    )


def test_a_comment_before_a_sentence_may_have_fewer_columns_than_the_tags_place(tmp_path):
    found = read(tmp_path / "a.conll", "# note\nEU NNP B-NP B-ORG\n", tag_column=3)
    assert words_and_tags(found) == [(["EU"], ["B-ORG"])]
    text = "# global.columns = FORM LEMMA UPOS\n# newdoc\nsun\tsun\tNOUN\n"
    assert words_and_tags(read(tmp_path / "a.conllup", text, tag_column="UPOS")) == [(["sun"], ["NOUN"])]


def test_comments_without_a_sentence_are_counted_with_the_next_one(tmp_path):
    found = read(tmp_path / "a.conll", "#begin document (a)\n\nEU NNP B-ORG\n")
    assert found[0]["skipped"] == {"comment lines skipped": 1}


def test_rows_that_prodigy_rejected_are_skipped_and_counted(tmp_path):
    rows = ['{"text": "a", "spans": [], "answer": "reject"}', '{"text": "b", "spans": [], "answer": "accept"}']
    (found,) = read(tmp_path / "a.jsonl", "\n".join(rows))
    assert (found["text"], list(found["skipped"].values())) == ("b", [1])
    assert "expected an example that was accepted. Received 1 that were not" in refusal(tmp_path / "b.jsonl", rows[0])
