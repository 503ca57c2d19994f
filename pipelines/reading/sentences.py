"""Splits text into sentences at the sentence marks of all scripts in Unicode. Plain functions, without Beam."""

import re

from pipelines.reading.sentence_marks import CLOSING, CONTINUING, ENDING, ENDING_BEYOND, OPENING

METHODS = ("auto", "lines")

# These marks also stand inside a sentence: it ends only before white space, and not before a small letter.
_SPACED = ".!?…‼⁇⁈⁉․﹒"
# All other marks always end a sentence. The Tibetan shad ends a clause, and Unicode has no mark for Tibetan sentences.
_OTHERS = rf"{ENDING}\u0f0d-\u0f11"


def _candidates(others: str, *, small_letters: bool, first: str = "[.!?]") -> re.Pattern:
    """Finds where a sentence may end: a mark, what belongs to it, and the white space behind.

    Of a run of marks only the first is tried, and at most 200 characters that close it are looked at, so that a line of
    nothing else takes no longer than others.

    Args:
      others: marks beside _SPACED, as the inside of brackets; "" for lines of ASCII.
      small_letters: whether a sentence may begin with one of a to z.
      first: the mark in lines of ASCII; one character is found several times as fast as one of a set.
    """
    following = r"(?!\s)" if small_letters else r"(?![a-z\s])"
    if not others:
        return re.compile(rf"{first}(?<![.!?][.!?])[\"')\].!?]{{0,200}}\s+{following}")
    # French has a space before a closing quotation mark; German may close with » “ or «.
    spaced = (
        rf"(?<=[{_SPACED}])(?<![{_SPACED}][{_SPACED}])[\"'{CLOSING}“«‹{_SPACED}]{{0,200}}(?:\s[»›”]+(?=\s))?"
        rf"\s+{following}"
    )
    # ។ល។ is Khmer's "and so on".
    elsewhere = (
        rf"(?<![{_SPACED}])(?!\s?[លប]\s?។)(?:\s*[{_SPACED}{others}]){{0,200}}+(?:[{CLOSING}]|[\"']+(?=\s|$)){{0,200}}+"
        rf"(?![{CONTINUING}])\s*"
    )
    return re.compile(f"[{_SPACED}{others}](?:{spaced}|{elsewhere})")


# For lines with capitals and for lines without. Searching for each set of marks is much slower than for the one before.
_OF_ASCII, _OF_USUAL_SCRIPTS, _OF_ALL_SCRIPTS = (
    tuple(_candidates(others, small_letters=small).finditer for small in (False, True))
    for others in ("", _OTHERS, _OTHERS + ENDING_BEYOND)
)
_OF_FULL_STOPS = tuple(_candidates("", small_letters=small, first=r"\.").finditer for small in (False, True))
_BEYOND = re.compile("[\U00010a00-\U0001dfff]").search  # where the scripts of ENDING_BEYOND lie
_CLOSES = re.compile(f"[{CLOSING}]").match
_OPENS = re.compile(rf"[\"'¿¡»{OPENING}]").match
_OPENING = re.compile(rf"[\"'¿¡»\s{OPENING}]*")
# A sentence rarely ends after these: English, then other languages, without those that are also English words.
_ABBREVIATIONS = frozenset(
    """mr mrs ms dr prof rev hon gen col maj capt cmdr lt sgt gov sen rep pres st mt ft fr sr jr messrs mme mlle
    e.g i.e cf viz vs v al ca approx resp fig figs eq eqs sec secs no nos vol vols ch chap pp p ed eds tab ref refs
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun dept univ assn bros est
    nr bzw vgl evtl ggf inkl exkl usf sog mio mrd abs aufl hrsg z.b d.h u.a o.ä s.o s.u u.u i.d.r v.a m.e
    bijv blz dhr mevr o.a d.w.z m.b.t t.ex bl.a dvs sra srta dra uds ud pág págs núm aprox ej ee
    dott sig sigg pag np tzn tzw ul prof św např tzv chr ул просп стр рис см тыс млн млрд проф""".split()  # noqa: SIM905 - reads like a list
)
# In lines without capitals, a full stop after these is more likely inside a sentence.
_ABBREVIATIONS_OF_SMALL_LETTERS = frozenset(
    ("etc", "incl", "excl", "inc", "ltd", "co", "corp", "max", "min", "a.m", "p.m")
)
# Four letters that no abbreviation ends with, a full stop, a capital: the fastest test, for most sentence ends.
_LONG_ENDS = "|".join(sorted({word[-4:] for word in _ABBREVIATIONS if len(word) >= 4}))
_ENDS_FOR_SURE = re.compile(rf"(?!{_LONG_ENDS})[a-z]{{4}}\. +[A-Z]").match
# A sentence that follows an abbreviation of capitals ("in the U.S. The ...") begins with one of these.
_STARTERS = frozenset(("The", "A", "An", "In", "On", "At", "He", "She", "It", "They", "We", "I", "This", "That"))
# German ordinals: "am 3. Oktober", "im 19. Jahrhundert", "der 2. Weltkrieg".
_BEFORE_ORDINALS = frozenset(("der", "die", "den", "dem", "im", "vom", "zum", "zur", "beim"))
_BEHIND_ORDINALS = frozenset(
    """januar jänner februar märz april mai juni juli august september oktober november dezember
    jahrhundert jahrhunderts jahrtausend jahrtausends""".split()  # noqa: SIM905 - reads like a list
)
_NUMBER = re.compile(r"\d+|[IVX]+").fullmatch
# Before and after a letter of an abbreviation with spaces: z. B., d. h., v. Chr., p. ej.
_AFTER_LETTER = re.compile(r"(?:^|.*\s)\w\.$").match
_SPACED_ABBREVIATION = re.compile(r"(?:\w|Chr|ex|ej)\.").match
_LONGEST_WORD = 1000  # characters that are examined, so that the time for a long line stays bounded


def split_sentences(text: str, method: str = "auto") -> list[str]:
    """Sentences without white space around them. A line break always ends a sentence.

    split_sentences("Dr. No came. (He left.) Why?") == ["Dr. No came.", "(He left.)", "Why?"]

    Marks are those of Unicode (UAX 29, Sentence_Break). Abbreviations, initials, list numbers, decimals and German
    ordinals do not end a sentence, nor does a full stop before a small letter, except in a line without capitals.

    Args:
      text: of a document.
      method: "auto", or "lines": every line is a sentence as it is.
    """
    if method == "lines":
        return [line.strip() for line in text.splitlines() if not line.isspace() and line]
    sentences = []
    for line in text.splitlines():
        start, length = 0, len(line)
        small = line.islower()
        if line.isascii():
            candidates = _OF_ASCII if "?" in line or "!" in line else _OF_FULL_STOPS
        else:
            candidates = _OF_ALL_SCRIPTS if _BEYOND(line) else _OF_USUAL_SCRIPTS
        for match in candidates[small](line):
            end = match.end()
            if end < length and (_ENDS_FOR_SURE(line, match.start() - 4) or _ends_sentence(line, start, match, small)):
                sentences.append(line[start:end].strip())
                start = end
        rest = line[start:].strip() if start else line.strip()
        if rest:
            sentences.append(rest)
    return sentences


def is_small(character: str) -> bool:
    """Whether a letter is small and has a capital with which a sentence would begin.

    Georgian's letters are small by name, but its capitals begin no sentence (Sentence_Break=OLetter).
    """
    return character.islower() and not "\u10d0" <= character <= "\u10ff"


def _ends_sentence(line: str, start: int, match: re.Match, small: bool) -> bool:
    """Whether the candidate ends the sentence that began at `start`; something follows it on its line.

    Args:
      line, start, match: the place.
      small: whether the line has no capitals.
    """
    found, end = match.group(), match.end()
    if found[0] not in _SPACED:
        following = line[end]
        if found[0] == "．" and not found[-1].isspace():  # "３．５"
            return not (following.isdigit() or "Ａ" <= following <= "ｚ")
        # Quoted speech goes on behind its bracket: 「はい。」と言った.
        return not _CLOSES(found[-1]) or bool(_OPENS(following))
    following = _OPENING.sub("", line[end : end + _LONGEST_WORD], count=1)[:1]
    if is_small(following) and (not small or found[0] == "…" or found[1] == "."):
        return False
    if found[0] != "." or found[1] == ".":
        return True
    before, _, word = line[max(start, match.start() - _LONGEST_WORD) : match.start()].rpartition(" ")
    return _full_stop_ends(_OPENING.sub("", word, count=1), before, line[end : end + _LONGEST_WORD], small)


def _full_stop_ends(word: str, before: str, behind: str, small: bool) -> bool:
    """Whether a full stop behind a word ends the sentence, given the text on both sides of both."""
    next_word = behind.partition(" ")[0]
    if _NUMBER(word):
        if word.isdigit() and not before.strip():
            return False  # "1. First item"
        is_ordinal = next_word.rstrip(".,;:").lower() in _BEHIND_ORDINALS
        if len(word) <= 2 and (is_ordinal or before.rpartition(" ")[2].lower() in _BEFORE_ORDINALS):
            return False
    if len(word) == 1 and word.isalpha():
        return not (word.isupper() or small or _SPACED_ABBREVIATION(behind) or _AFTER_LETTER(before))
    if word.lower() in _ABBREVIATIONS or (small and word in _ABBREVIATIONS_OF_SMALL_LETTERS):
        return False
    if "." in word and word.replace(".", "").isupper():
        return next_word in _STARTERS
    return True
