"""Windows, spans, rows of words and entities by their definitions, one token at a time, for what the graphs are
compared with."""

import math
from collections.abc import Sequence


def windows(count: int, room: int, stride: int) -> list[tuple[int, int]]:
    """(first, last + 1) of stretches of at most `room` of so many tokens, `stride` apart, until one holds the last."""
    found = [(0, min(count, room))]
    while found[-1][1] < count:
        first = found[-1][0] + min(stride, room)
        found.append((first, min(count, first + room)))
    return found


def best_window(token: int, stretches: Sequence[tuple[int, int]]) -> int:
    """The first of the windows with most context on the token's poorer side, then most tokens."""
    shown = {
        number: (min(token - first, last - 1 - token), last - first)
        for number, (first, last) in enumerate(stretches)
        if first <= token < last
    }
    return max(shown, key=lambda number: (shown[number], -number))


def answer(
    context: str,
    bounds: Sequence[tuple[int, int]],
    stretches: Sequence[tuple[int, int]],
    offset: int,
    starts,
    ends,
    *,
    n_best: int,
    most_tokens: int,
    threshold: float | None,
) -> dict:
    """The answer as bert_tf.predict writes it.

    Args:
      context: the text.
      bounds: bytes of each of its tokens.
      stretches: its windows.
      offset: position of a window's first token of the context.
      starts, ends: scores [windows][positions].
      n_best: starts and ends of a window that are combined, and different texts that are given.
      most_tokens: of a span.
      threshold: see head.no_answer_threshold.
    """
    source, spans = context.encode(), []
    nothing = min(starts[row][0] + ends[row][0] for row in range(len(stretches)))
    for row, (first, last) in enumerate(stretches):
        tokens = range(first, last)

        def best(scores, row=row, tokens=tokens, first=first):
            return sorted(tokens, key=lambda t: (-scores[row][offset + t - first], t))[:n_best]

        for begin in best(starts):
            for end in best(ends):
                if begin <= end < begin + most_tokens and best_window(begin, stretches) == row:
                    score = starts[row][offset + begin - first] + ends[row][offset + end - first]
                    spans.append((-score, bounds[begin][0], bounds[end][1]))
    found: dict[str, dict] = {}
    for score, begin, end in sorted(spans):
        text = source[begin:end].decode("utf-8", "ignore")
        start = len(source[:begin].decode("utf-8", "ignore"))
        if text.strip() and text not in found and len(found) < n_best:
            found[text] = {"text": text, "start": start, "end": start + len(text), "score": -score}
    candidates = list(found.values())
    if threshold is not None or not candidates:
        candidates.append({"text": "", "start": 0, "end": 0, "score": nothing})
    total = sum(math.exp(candidate["score"]) for candidate in candidates)
    for candidate in candidates:
        candidate["probability"] = math.exp(candidate["score"]) / total
    over = nothing - candidates[0]["score"]
    chosen = candidates[0] if threshold is None or over <= threshold else candidates[-1]
    return {
        "answer": chosen["text"],
        **{name: chosen[name] for name in ("start", "end", "probability")},
        "no_answer_score": over,
        "n_best": sorted(candidates, key=lambda candidate: -candidate["score"]),
    }


def rows_of_words(lengths: Sequence[int], budget: int) -> list[tuple[int, int]]:
    """(first, last + 1) word of rows of at most `budget` tokens; one empty row for no words at all."""
    rows, first, size = [], 0, 0
    for index, length in enumerate(min(length, budget) for length in lengths):
        if size + length > budget:
            rows.append((first, index))
            first, size = index, 0
        size += length
    return [*rows, (first, len(lengths))]


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, last word + 1) of B-, I- and O tags, as CoNLL-2003's script has them."""
    found, kind, first = [], None, 0
    for index, tag in enumerate([*tags, "O"]):
        if kind is not None and tag != f"I-{kind}":
            found.append((kind, first, index))
            kind = None
        if kind is None and tag != "O":
            kind, first = tag[2:], index
    return found
