"""Writes pipelines/reading/sentence_marks.py from the Unicode properties of the package regex.

python -m tests.pipelines.reading.unicode_marks > pipelines/reading/sentence_marks.py
"""

import sys

import regex

_HEAD = '''"""Characters that end, close and continue sentences, as the inside of a regular expression's brackets.

From Unicode's properties, by `python -m tests.pipelines.reading.unicode_marks`: workers need no library for them, and
the same table makes the same shards everywhere. A test compares it with the package regex.
"""
'''
# Constant -> (what it holds, its property).
PROPERTIES = {
    "ENDING": (
        "Sentence_Break=STerm, and the full stops of Sentence_Break=ATerm, without those of ASCII: up to U+FFFF.",
        r"[[\p{Sentence_Break=STerm}\p{Sentence_Break=ATerm}]--[.!?\U00010000-\U0010ffff]]",
    ),
    "ENDING_BEYOND": (
        "The same beyond U+FFFF. All lie between U+10A00 and U+1DFFF, below the emoji.",
        r"[\p{Sentence_Break=STerm}&&[\U00010000-\U0010ffff]]",
    ),
    "CLOSING": (
        "Closing brackets and quotation marks: General_Category Pe and Pf.",
        r"[\p{Pe}\p{Pf}]",
    ),
    "OPENING": (
        "Opening brackets and quotation marks: General_Category Ps and Pi.",
        r"[\p{Ps}\p{Pi}]",
    ),
    "CONTINUING": (
        "Sentence_Break=SContinue, without dashes: commas, colons, semicolons.",
        r"[\p{Sentence_Break=SContinue}--\p{Dash}]",
    ),
}


def characters(pattern: str) -> list[int]:
    """The code points that a pattern of one character matches."""
    matches = regex.compile(pattern, regex.VERSION1).fullmatch
    return [code for code in range(sys.maxunicode + 1) if matches(chr(code))]


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _ranges(codes: list[int]) -> list[str]:
    """Runs of code points as in a regular expression: "\\u0964-\\u0965"."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and code == runs[-1][-1] + 1:
            runs[-1].append(code)
        else:
            runs.append([code])
    return [_escaped(run[0]) + (f"-{_escaped(run[-1])}" if len(run) > 1 else "") for run in runs]


def rendered() -> str:
    """The file's text."""
    lines = [_HEAD]
    for name, (meaning, pattern) in PROPERTIES.items():
        lines += [f"# {meaning}", f"{name} = ("]
        line = ""
        for part in _ranges(characters(pattern)):
            if len(line) + len(part) > 110:
                lines.append(f'    r"{line}"')
                line = ""
            line += part
        lines += [f'    r"{line}"', ")"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rendered())
