import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_tf.core.errors import InputError
from pipelines.filtering import cleaning
from pipelines.filtering.cleaning import DocumentConfig, c4_rules, clean, prepare


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as it is.\nTwo lines.", "as it is.\nTwo lines."),
        ("  two   spaces \t and a tab ", "two spaces and a tab"),
        ("a\r\nb\rc\u2028d\x85e\x0bf", "a\nb\nc\nd\ne\nf"),
        ("\n\none\n \n\ntwo\n", "one\ntwo"),
        ("zero\u200bwidth, soft\u00adhyphen, \ufeffmark, \ufffd, bell\x07", "zerowidth, softhyphen, mark, , bell"),
        ("cafe\u0301", "caf\u00e9"),
        ("cafe\u200b\u0301", "caf\u00e9"),
        ("no\u00a0break", "no break"),
        ("\u200d family \u200c stays", "\u200d family \u200c stays"),
        ("", ""),
    ],
)
def test_clean(text, expected):
    assert clean(text) == expected


@given(st.text(st.characters(codec="utf-8") | st.sampled_from(" \n\u00a0\u200b\u2028\ufffde\u0301"), max_size=30))
def test_the_fast_look_agrees_and_clean_text_stays(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "_is_clean", lambda _: False)
        thorough = clean(text)
    assert clean(text) == thorough
    assert clean(thorough) == thorough


PROSE = "This line has six words here.\n" * 5


@pytest.mark.parametrize(
    ("text", "kept", "counted"),
    [
        (PROSE + "Home > Products", PROSE, "lines_without_end_punctuation"),
        (PROSE + "And this goes on ...", PROSE, "lines_without_end_punctuation"),
        (PROSE + "Too few words.", PROSE, "lines_of_few_words"),
        (PROSE + "Please enable JavaScript to see this page.", PROSE, "lines_with_javascript"),
        (PROSE + "Read our privacy policy before you go on.", PROSE, "lines_with_policy"),
        (PROSE + "It is so [1] and also so.[citation needed]", PROSE + "It is so  and also so.", None),
        ("これは五文字より長い文です。\n" * 5, "これは五文字より長い文です。\n" * 5, None),
        *((script * 5, script * 5, None) for script in (
            "यह पंक्ति हिन्दी में लिखी गई है।\n",
            "এই লাইনটি বাংলায় লেখা হয়েছে আজ।\n",
            "یہ سطر اردو میں لکھی گئی ہے۔\n",
            "ეს სტრიქონი ქართულად არის დაწერილი.\n",
            "ይህ መስመር በአማርኛ ቋንቋ የተጻፈ ነው።\n",
            "Այս տողը գրված է հայերեն լեզվով։\n",
            "បន្ទាត់នេះត្រូវបានសរសេរជាភាសាខ្មែរ។\n",
            "ဒီစာကြောင်းကိုမြန်မာဘာသာဖြင့်ရေးထားသည်။\n",
            "བོད་ཡིག་འདི་ནི་ཚིག་གྲུབ་ཅིག་ཡིན།\n",
            "บรรทัดนี้เขียนเป็นภาษาไทย\n",
            "ແຖວນີ້ຂຽນເປັນພາສາລາວ\n",
            "「これは五文字より長い文です。」\n",
            "이 줄은 한국어로 쓴 문장 입니다.\n",
            "Sie sagte heute ganz laut: „Ja!“\n",
        )),
        ("यह एक। यह दो। यह तीन। यह चार। यह पाँच।", "यह एक। यह दो। यह तीन। यह चार। यह पाँच।", None),
        ("บรรทัดนี้เขียน เป็นภาษาไทย และมี หลายประโยค อยู่ในนั้น", "บรรทัดนี้เขียน เป็นภาษาไทย และมี หลายประโยค อยู่ในนั้น", None),
        (PROSE + "यह पंक्ति अधूरी है और", PROSE, "lines_without_end_punctuation"),
        (PROSE + "हाँ, ठीक है।", PROSE, "lines_of_few_words"),
        (PROSE + "한국어 두마디.", PROSE, "lines_of_few_words"),
        (PROSE.replace("This line", "Lorem ipsum"), None, "dropped_lorem_ipsum"),
        (PROSE + "function f() { return 1 and more. }", None, "dropped_braces"),
        ("This line has six words here.\n" * 4, None, "dropped_few_sentences"),
        ("This has six words in it. And another. Three. Four. Five.", "This has six words in it. And another. "
         "Three. Four. Five.", None),
    ],
)  # fmt: skip
def test_c4_rules(text, kept, counted):
    counts = collections.Counter()
    found = c4_rules(text.strip(), counts)
    assert found == (None if kept is None else kept.strip())
    assert counts == ({counted: 1} if counted else {})


def test_every_drop_is_counted():
    counts = collections.Counter()
    config = DocumentConfig(min_characters=5, deduplicate_paragraphs=True)
    assert prepare(" \u200b\n", config, counts) is None
    assert prepare("abc", config, counts) is None
    assert prepare("one line\ntwo\none line", config, counts) == "one line\ntwo"
    assert +counts == {"dropped_empty": 1, "dropped_short": 1, "lines_repeated": 1}
    assert prepare(" as it is \n", DocumentConfig(clean=False), counts) == " as it is \n"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"min_characters": -1}, "--min_document_characters must not be negative. Received: -1"),
        ({"near_duplicates": 1.5}, "--near_duplicates must be 0 .* Received: 1.5"),
        ({"quality_rules": "c5"}, "--quality_rules must be one of .* Received: c5"),
    ],
)
def test_wrong_settings_are_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        DocumentConfig(**changes)
