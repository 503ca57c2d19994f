"""Documents: identity, and the split into sentences. Plain functions, no Beam."""

import hashlib
import re

# Where a sentence may end: closing punctuation with the quotes and brackets that belong to it, before white space and
# no small letter; the full stops of Chinese and Japanese need none. One set of characters in front makes the search
# three times as fast. Of a run of marks only the first is tried, and at most 200 that close it are looked at, or a line
# of nothing else would take for ever.
_CLOSING = r"""["'”’»)\].!?…]{0,200}"""
_CANDIDATE = re.compile(
    rf"[.!?…؟۔।॥。！？｡](?:(?<![.!?…][.!?…]){_CLOSING}\s+(?![a-z\s])|(?<=[。！？｡])[」』”’）】》〉。！？]*)"
)
_CLOSING_CJK = "」』”’）】》〉"
_OPENING = "\"'“‘«([{¿¡「『（【《〈"
# No sentence ends behind these, or only by chance.
_ABBREVIATIONS = frozenset(
    """mr mrs ms dr prof rev hon gen col maj capt cmdr lt sgt gov sen rep pres st mt ft fr sr jr messrs mme mlle
    e.g i.e cf viz vs v al ca approx resp fig figs eq eqs sec secs no nos vol vols ch chap pp p ed eds tab ref refs
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun dept univ assn bros est""".split()  # noqa: SIM905 - reads like a list
)
# Four letters that end no abbreviation, a full stop, a capital: most sentences end so, and this is the fastest look.
_LONG_ENDS = "|".join(sorted({word[-4:] for word in _ABBREVIATIONS if len(word) >= 4}))
_ENDS_FOR_SURE = re.compile(rf"(?!{_LONG_ENDS})[a-z]{{4}}\. +[A-Z]").match
# A sentence that follows an abbreviation of capitals ("in the U.S. The ...") begins with one of these.
_STARTERS = frozenset(("The", "A", "An", "In", "On", "At", "He", "She", "It", "They", "We", "I", "This", "That"))


_LONGEST_WORD = 1000  # characters that are looked at, so that a long line does not take for ever


def document_id(text: str) -> bytes:
    """16 bytes that depend on the content alone, so that the same document is the same in any file."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def split_sentences(text: str) -> list[str]:
    """Sentences without white space around them. A line break always ends a sentence.

    Abbreviations, initials, list numbers and decimals do not end one, nor does punctuation before a lower-case letter.
    """
    sentences = []
    for line in text.splitlines():
        start, length = 0, len(line)
        for match in _CANDIDATE.finditer(line):
            end = match.end()
            if end < length and (_ENDS_FOR_SURE(line, match.start() - 4) or _ends_sentence(line, start, match)):
                sentences.append(line[start:end].strip())
                start = end
        rest = line[start:].strip() if start else line.strip()
        if rest:
            sentences.append(rest)
    return sentences


def _ends_sentence(line: str, start: int, match: re.Match) -> bool:
    """Whether the candidate ends the sentence that began at `start`; something follows it on its line."""
    following = line[match.end()]
    if not match.group()[-1].isspace():
        # Quoted speech goes on behind its bracket: 「はい。」と言った.
        return match.group()[-1] not in _CLOSING_CJK or following.isspace() or following in _OPENING
    if following in _OPENING:
        following = line[match.end() + 1 : match.end() + 2]
    if following.islower():
        return False
    if match.group()[0] != "." or match.group()[1] == ".":
        return True
    word = line[max(start, match.start() - _LONGEST_WORD) : match.start()].rpartition(" ")[2].lstrip(_OPENING)
    if word.isdigit():
        return bool(line[start : match.start() - len(word)].strip())  # "1. First item"
    if len(word) == 1:
        return not word.isupper()
    if word.lower() in _ABBREVIATIONS:
        return False
    if "." in word and word.replace(".", "").isupper():
        return line[match.end() : match.end() + _LONGEST_WORD].partition(" ")[0] in _STARTERS
    return True
