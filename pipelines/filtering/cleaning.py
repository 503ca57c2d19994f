"""Documents as they come -> documents worth learning from. Plain functions, no Beam; what is dropped is counted."""

import collections
import dataclasses
import re
import unicodedata

from bert_tf.core.errors import require
from pipelines.reading.sentence_marks import ENDING, ENDING_BEYOND
from pipelines.reading.sentences import split_sentences

# str.splitlines' idea of a line, less the separators of data that are no line breaks to a reader.
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\x80-\x84\x86-\x9f\xad\u200b\u2060\ufeff\ufffd]")
# Scripts without spaces between words. Thai and Lao have no sentence marks either: a space is what they have.
_IDEOGRAPHS = (
    "\u2e80-\u2fff\u3005-\u3007\u3021-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_THAI = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u0edc-\u0edf"
_OTHERS = (
    "\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u1950-\u19df\u1a20-\u1a7f\u1b05-\u1b4c\ua980-\ua9c0\ua9e0-\ua9fe"
    "\uaa60-\uaadf"
)
_TIBETAN = "\u0f40-\u0fbc"
# A word: an ideograph, about four letters of Southeast Asia, a Tibetan syllable, or what stands between white space.
_WORD = re.compile(
    f"[{_IDEOGRAPHS}]|[{_THAI}{_OTHERS}]{{1,4}}|[{_TIBETAN}]+|[^\\s{_IDEOGRAPHS}{_THAI}{_OTHERS}{_TIBETAN}]+"
)
# Raffel et al. 2020 (T5), section 2.2, and the code that made C4, whose four are . ! ? and a quotation mark; here with
# those of all scripts, and the letters of scripts that have none.
_LINE_END = re.compile(f'[.!?"{ENDING}{ENDING_BEYOND}\u0f0d-\u0f11”“»«›‹」』{_THAI}]').match
_SPACE_IN_THAI = re.compile(f"(?<=[{_THAI}])\\s(?=[{_THAI}])")
_MIN_WORDS_A_LINE = 5
_MIN_SENTENCES = 5
_POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_CITATION = re.compile(r"\[(?:\d+|edit|citation needed)\]")
QUALITY_RULES = ("none", "c4")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DocumentConfig:
    """What becomes of documents before they are split into sentences.

    Attributes:
      clean: Unicode form C, no control or invisible characters but joiners, one space between words, no empty lines.
      min_characters: shorter documents are dropped.
      deduplicate: a document comes once, however often it is in the input.
      deduplicate_paragraphs: a line comes once, in the document with the smallest id of all that hold it.
      near_duplicates: documents whose 5-word shingles have about this Jaccard similarity or more come once; 0 = off.
      quality_rules: "c4" drops what C4 drops, as far as rules without word lists and language models go; or "none".
    """

    clean: bool = True
    min_characters: int = 0
    deduplicate: bool = True
    deduplicate_paragraphs: bool = False
    near_duplicates: float = 0.0
    quality_rules: str = "none"

    def __post_init__(self):
        require(self.min_characters >= 0, "--min_document_characters must not be negative", self.min_characters)
        near = self.near_duplicates
        require(near == 0 or 0.1 <= near <= 1, "--near_duplicates must be 0 (off) or lie in [0.1, 1]", near)
        require(
            self.quality_rules in QUALITY_RULES, f"--quality_rules must be one of {QUALITY_RULES}", self.quality_rules
        )


def prepare(text: str, config: DocumentConfig, counts: collections.Counter) -> str | None:
    """A cleaned document, or None if it is dropped; the reason is counted."""
    if config.clean:
        text = clean(text)
    if config.quality_rules == "c4":
        text = c4_rules(text, counts)
        if text is None:
            return None
    if config.deduplicate_paragraphs:
        lines = text.split("\n")
        text = "\n".join(kept := dict.fromkeys(lines))
        counts["lines_repeated"] += len(lines) - len(kept)
    if not text.strip():
        counts["dropped_empty"] += 1
        return None
    if len(text) < config.min_characters:
        counts["dropped_short"] += 1
        return None
    return text


def clean(text: str) -> str:
    """Unicode form C, no control or invisible characters but joiners, single spaces, no empty lines."""
    if _is_clean(text):
        return text
    text = _INVISIBLE.sub("", text)
    if not text.isascii():  # last: what stood around an invisible character may belong together
        text = unicodedata.normalize("NFC", text)
    lines = (" ".join(line.split()) for line in _LINE_BREAK.split(text))
    return "\n".join(line for line in lines if line)


def _is_clean(text: str) -> bool:
    """Whether clean() would change nothing, for texts that are usual: no regular expression has to look at them."""
    return (
        (text.isascii() or (unicodedata.is_normalized("NFC", text) and "\ufffd" not in text))
        and not ("  " in text or " \n" in text or "\n " in text or "\n\n" in text)
        and text.replace("\n", " ").isprintable()  # neither control characters nor white space but the usual
        and text.strip() == text
    )


def c4_rules(text: str, counts: collections.Counter) -> str | None:
    """The lines that read like prose, or None for a document that does not.

    A line stays if it ends in punctuation of any script (Thai and Lao have none), has five words, and mentions neither
    JavaScript nor a policy; citation marks such as [1] go. A document stays if it has five sentences left, no brace and
    no "lorem ipsum". C4's list of bad words and its language filter are not here.
    """
    lowered = text.lower()
    for phrase, counter in (("lorem ipsum", "dropped_lorem_ipsum"), ("{", "dropped_braces")):
        if phrase in lowered:
            counts[counter] += 1
            return None
    kept = []
    for line in _CITATION.sub("", text).split("\n"):
        reason = _line_fault(line.strip())
        if reason:
            counts[reason] += 1
        else:
            kept.append(line)
    text = "\n".join(kept)
    if len(split_sentences(text)) + len(_SPACE_IN_THAI.findall(text)) < _MIN_SENTENCES:
        counts["dropped_few_sentences"] += 1
        return None
    return text


def _line_fault(line: str) -> str | None:
    if not _LINE_END(line[-1:]) or line.endswith("..."):
        return "lines_without_end_punctuation"
    if len(line.split() if line.isascii() else _WORD.findall(line)) < _MIN_WORDS_A_LINE:
        return "lines_of_few_words"
    lowered = line.lower()
    if "javascript" in lowered:
        return "lines_with_javascript"
    if any(policy in lowered for policy in _POLICIES):
        return "lines_with_policy"
    return None
