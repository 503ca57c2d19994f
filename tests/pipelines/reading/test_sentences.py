"""The split into sentences: many scripts, and the table of marks against Unicode's properties."""

import pathlib
import pydoc_data.topics
import sys
import unicodedata

import pytest
import regex

from bert_tf.core.errors import InputError
from pipelines.instances.pool import InstanceConfig
from pipelines.reading import sentences
from pipelines.reading.sentences import is_small, split_sentences
from tests.pipelines.reading import unicode_marks


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there! Three?", ["One here.", "Two there!", "Three?"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("By J. Smith and e.g. others.", ["By J. Smith and e.g. others."]),
        (" a  line\t\nanother line\n\n", ["a  line", "another line"]),
        (
            "Dr. Smith vs. Jones, cf. Fig. 3 and no. 4. Then 2.5 more.",
            ["Dr. Smith vs. Jones, cf. Fig. 3 and no. 4.", "Then 2.5 more."],
        ),
        ("1. First item. Second one.", ["1. First item.", "Second one."]),
        ("It costs 3. Then 4.", ["It costs 3.", "Then 4."]),
        ("In the U.S. Army. In the U.S. The end.", ["In the U.S. Army.", "In the U.S.", "The end."]),
        ("Wait... What?! (He left.) “Why?” he said.", ["Wait...", "What?!", "(He left.)", "“Why?” he said."]),
        ("Use approx. five of them, e.g. this one. Or six.", ["Use approx. five of them, e.g. this one.", "Or six."]),
        ("... . a", ["...", ".", "a"]),
        ("", []),
    ],
)
def test_english(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("this is one. this is two.", ["this is one.", "this is two."]),
        ("yahoo! it works. does it? yes (or no). \"so be it.\" then go on.", [
            "yahoo!", "it works.", "does it?", "yes (or no).", "\"so be it.\"", "then go on."]),
        ("use e.g. this or approx. five, etc. and so on ... by j. smith. at 5 p.m. we left.", [
            "use e.g. this or approx. five, etc. and so on ... by j. smith.", "at 5 p.m. we left."]),
        ("1. first item. it has 2.5 units.", ["1. first item.", "it has 2.5 units."]),
        ("Wait for it. then it is lower-cased in one place.", ["Wait for it. then it is lower-cased in one place."]),
        ("это первое. это второе.", ["это первое.", "это второе."]),
    ],
)  # fmt: skip
def test_lines_without_capitals(text, sentences):
    """A small letter says nothing in a line that has no capital."""
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("თბილისი დიდი ქალაქია. მდინარე მტკვარი აქ მიედინება.", 2),  # Georgian: letters are small by name
        ("Linux თავისუფალია. სისტემა კარგია! ვინ იცის?", 3),
        ("यह पहला वाक्य है। यह दूसरा वाक्य है॥ linux भी।", 3),  # Hindi
        ("यह वाक्य है।यह भी", 2),
        ("এটি প্রথম বাক্য। এটি দ্বিতীয় বাক্য।", 2),  # Bengali
        ("یہ پہلا جملہ ہے۔ یہ دوسرا جملہ ہے۔", 2),  # Urdu
        ("هل هذا سؤال؟ نعم، هذا سؤال. وهذا آخر!", 3),  # Arabic
        ("ይህ የመጀመሪያው ነው። ይህ ሁለተኛው ነው፧ አዎ።", 3),  # Amharic
        ("Սա առաջինն է։ Սա երկրորդն է։", 2),  # Armenian
        ("នេះជាប្រយោគទីមួយ។ នេះជាប្រយោគទីពីរ។", 2),  # Khmer
        ("ផ្លែឈើ បន្លែ ។ល។ ជាអាហារ។ ចប់", 3),  # "and so on" between two marks
        ("ဒါက ပထမ ဝါကျ ဖြစ်တယ်။ ဒါက ဒုတိယ ဝါကျ ဖြစ်တယ်။", 2),  # Burmese
        ("བོད་ཡིག་འདི་ཡིན། འདི་གཉིས་པ་ཡིན། །", 2),  # Tibetan
        ("今日は．明日も．終わり", 3),
        ("価格は３．５です．次．", 2),
        ("今日は。明日も。", 2),
        ("本当？！はい｡おわり", 3),
        ("「はい。」と言った。それから。", 2),
        ("他说：“你好。”然后走了。再见！", 2),
        ("他走了……然后回来。", 1),
        ("ᐊᓂᐅᑎ᙮ ᐊᓂᐅᑎ᙮", 2),  # Canadian syllabics
        ("ދިވެހި. ބަސް.", 2),
        ("𑄌𑄋𑄴𑄟𑄳𑄦 𑅁 𑄌𑄋𑄴𑄟𑄳𑄦 𑅁", 2),  # Chakma, beyond U+FFFF
    ],
)
def test_scripts(text, count):
    sentences = split_sentences(text)
    assert len(sentences) == count, sentences
    assert "".join(sentences).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Sie kam am 3. Oktober an. Er blieb.", ["Sie kam am 3. Oktober an.", "Er blieb."]),
        ("Das gilt z. B. Autos, d. h. Wagen. Gut.", ["Das gilt z. B. Autos, d. h. Wagen.", "Gut."]),
        ("Es gilt z.B. Autos u.a. Dinge. Gut.", ["Es gilt z.B. Autos u.a. Dinge.", "Gut."]),
        ("Im 19. Jahrhundert und im XX. Jahrhundert. Ja.", ["Im 19. Jahrhundert und im XX. Jahrhundert.", "Ja."]),
        ("Der 2. Weltkrieg bzw. Krieg. Rom 50 v. Chr. Ende", ["Der 2. Weltkrieg bzw. Krieg.", "Rom 50 v. Chr. Ende"]),
        ("„Ja.“ Er ging. »Nein.« Sie blieb.", ["„Ja.“", "Er ging.", "»Nein.«", "Sie blieb."]),
        ("Er ging. »Nein«, rief er.", ["Er ging.", "»Nein«, rief er."]),
        ("« Oui. » Il part. « Quoi ? » dit-il. Fin !", ["« Oui. »", "Il part.", "« Quoi ? » dit-il.", "Fin !"]),
        ("¿Qué? ¡Bien! «Sí.» Es p. ej. Ana en EE. UU. hoy.", [
            "¿Qué?", "¡Bien!", "«Sí.»", "Es p. ej. Ana en EE. UU. hoy."]),
        ("Olá! “Sim.” O Sr. Silva disse. Fim.", ["Olá!", "“Sim.”", "O Sr. Silva disse.", "Fim."]),
        ("Да. «Нет.» На стр. Вики — всё.", ["Да.", "«Нет.»", "На стр. Вики — всё."]),
    ],
)  # fmt: skip
def test_languages_of_europe(text, sentences):
    assert split_sentences(text) == sentences


def test_lines_are_taken_as_they_are():
    text = " One. Two. \n\n \nthree\u2028four "
    assert split_sentences(text, "lines") == ["One. Two.", "three", "four"]
    with pytest.raises(InputError, match="--sentences must be one of .'auto', 'lines'.. Received: words"):
        InstanceConfig(sentences="words")


@pytest.mark.parametrize(
    "line",
    [
        "." * 200_000 + "x",
        "?!" * 100_000 + "x",
        "Mr. " * 50_000 + "x",
        "。" * 200_000,
        "。" * 100_000 + "、",
        "། " * 100_000 + "、",
        "é." + " " * 200_000 + "x",
        "é. »" * 200_000,
        "a. " * 60_000 + "b",
    ],
)
def test_a_long_line_of_marks_takes_no_longer_than_others(line):
    """Of the time that grows with the square of its length nobody would see the end."""
    assert "".join(split_sentences(line)).replace(" ", "") == line.replace(" ", "")


def test_the_table_of_marks_is_unicodes():
    path = pathlib.Path(__file__).parents[3] / "pipelines/reading/sentence_marks.py"
    assert path.read_text(encoding="utf-8") == unicode_marks.rendered()


def test_small_letters_are_unicodes():
    is_lower = regex.compile(r"[\p{Sentence_Break=Lower}&&\p{L}]", regex.VERSION1).fullmatch
    letters = [
        chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in ("Ll", "Lu", "Lt", "Lo")
    ]
    different = {letter for letter in letters if is_small(letter) != bool(is_lower(letter))}
    # Newer versions of Unicode class a few letters of phonetics otherwise than Python's.
    assert different <= {"\u0295"}


@pytest.mark.parametrize("small", [False, True])
def test_lines_without_other_marks_have_the_same_candidates(small):
    """The pattern for lines whose only marks are full stops is that of all ASCII lines but for its first character."""
    lines = [line for text in pydoc_data.topics.topics.values() for line in text.splitlines() if line.isascii()]
    lines += ["a... b.) c", 'x." Y', ". . .", "..", "a. ", "v1.2.3 is (e.g.) old. New."]
    chosen = [line for line in lines if "?" not in line and "!" not in line]
    assert len(chosen) > 5_000
    for line in chosen:
        found, expected = (
            [match.span() for match in patterns[small](line)]
            for patterns in (sentences._OF_FULL_STOPS, sentences._OF_ASCII)
        )
        assert found == expected, line
