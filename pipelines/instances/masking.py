"""Masked-LM selection for all rows of a pool at once: single word pieces, whole words, or spans of words."""

import numpy as np

from bert_tf.text.vocabulary import Vocabulary

METHODS = ("wordpiece", "whole_word", "span", "none")
_SPAN_STOP = 0.2  # Joshi et al. 2020 (SpanBERT), 3.1: span lengths are geometric ...
_LONGEST_SPAN = 10  # ... and at most ten words
_TRIES = 4  # spans that are proposed for every one that would fit


def wanted_predictions(lengths: np.ndarray, masked_lm_prob: float, max_predictions_per_seq: int) -> np.ndarray:
    """min(max_predictions_per_seq, max(1, round(n * masked_lm_prob))) for instances of n tokens, specials included."""
    share = np.rint(lengths * masked_lm_prob).astype(np.int64)
    return np.minimum(np.maximum(1, share), max_predictions_per_seq)


def mask_tokens(
    word_ids: np.ndarray,
    maskable: np.ndarray,
    *,
    begins_word: np.ndarray,
    method: str = "wordpiece",
    vocabulary: Vocabulary,
    masked_lm_prob: float,
    max_predictions_per_seq: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Chooses positions, remembers their ids and hides them (Devlin et al. 2018, 3.1).

    A row has the share of `wanted_predictions`; whole words and spans may leave a place or two of it unused. A chosen
    token becomes [MASK] with probability 0.8, a token drawn from the whole vocabulary with 0.1, and stays with 0.1,
    which is drawn for every piece, also of a whole word; of a span all pieces have the same fate, as in SpanBERT.

    Args:
      word_ids: int [rows, max_seq_length].
      maskable: bool, the same shape: False at padding, [CLS] and [SEP].
      begins_word: bool, the same shape: True where a word begins; of use for "whole_word" and "span" only.
      method: "wordpiece", "whole_word" or "span".

    Returns:
      input_word_ids [rows, max_seq_length], masked_lm_positions, masked_lm_ids and masked_lm_weights
      [rows, max_predictions_per_seq].
    """
    lengths = (word_ids != vocabulary["[PAD]"]).sum(axis=1)
    wanted = wanted_predictions(lengths, masked_lm_prob, max_predictions_per_seq)
    if method == "wordpiece":
        chosen = _choose_pieces(maskable, wanted, rng)
    elif method == "whole_word":
        chosen = _choose_words(maskable, begins_word, wanted, rng)
    else:
        chosen = _choose_spans(maskable, begins_word, wanted, rng)

    width = max_predictions_per_seq
    rank = np.cumsum(chosen, axis=1) - 1
    rows, columns = np.nonzero(chosen)
    positions = np.zeros((len(word_ids), width), np.int64)
    positions[rows, rank[rows, columns]] = columns
    is_prediction = np.arange(width) < chosen.sum(axis=1)[:, None]

    original = np.take_along_axis(word_ids, positions, axis=1)
    action = rng.random(positions.shape)
    if method == "span":
        # The draw of the first piece holds for all that follow it without a gap.
        opens = np.ones(positions.shape, bool)
        opens[:, 1:] = np.diff(positions, axis=1) != 1
        first = np.maximum.accumulate(np.where(opens, np.arange(width), 0), axis=1)
        action = np.take_along_axis(action, first, axis=1)
    random_ids = rng.integers(0, len(vocabulary), positions.shape)
    replacement = np.where(action < 0.8, vocabulary["[MASK]"], np.where(action < 0.9, random_ids, original))
    masked = word_ids.copy()
    masked[rows, columns] = replacement[is_prediction]
    return {
        "input_word_ids": masked,
        "masked_lm_positions": positions,
        "masked_lm_ids": np.where(is_prediction, original, 0),
        "masked_lm_weights": is_prediction.astype(np.float32),
    }


def _choose_pieces(maskable: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # The positions with the smallest of independent uniform keys are a uniform choice without replacement.
    keys = np.where(maskable, rng.random(maskable.shape), np.inf)
    most = min(int(wanted.max(initial=0)), maskable.shape[1])
    order = np.argpartition(keys, most - 1, axis=1)[:, :most]
    order = np.take_along_axis(order, np.argsort(np.take_along_axis(keys, order, axis=1), axis=1), axis=1)
    chosen = np.zeros(maskable.shape, bool)
    np.put_along_axis(chosen, order, np.arange(most) < wanted[:, None], axis=1)
    return chosen & maskable


def _choose_words(
    maskable: np.ndarray, begins_word: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Words in random order, each one that still fits (the rule of google-research/bert)."""
    word, sizes, counts = _words(maskable, begins_word)
    keys = np.where(np.arange(sizes.shape[1]) < counts[:, None], rng.random(sizes.shape), np.inf)
    order = np.argsort(keys, axis=1)
    taken = np.zeros(sizes.shape, bool)
    used = np.zeros(len(sizes), np.int64)
    rows = np.arange(len(sizes))
    for rank in range(sizes.shape[1]):
        size = sizes[rows, order[:, rank]]
        fits = (size > 0) & (used + size <= wanted)
        taken[rows, order[:, rank]] = fits
        used += np.where(fits, size, 0)
        if (used == wanted).all():
            break
    return maskable & taken[rows[:, None], word]


def _choose_spans(
    maskable: np.ndarray, begins_word: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Spans of whole words that begin anywhere (Joshi et al. 2020), cut where the segment or the share ends."""
    word, sizes, counts = _words(maskable, begins_word)
    # Words follow each other unless a special token stands between their pieces.
    starts = np.zeros(sizes.shape, np.int64)
    rows, columns = np.nonzero(maskable & begins_word)
    starts[rows, word[rows, columns]] = columns
    follows = np.zeros(sizes.shape, bool)
    follows[:, 1:] = (sizes[:, 1:] > 0) & (starts[:, 1:] == starts[:, :-1] + sizes[:, :-1])

    taken = np.zeros(sizes.shape, bool)
    used = np.zeros(len(sizes), np.int64)
    row = np.arange(len(sizes))
    # Few rounds at each end of the scale: rows that cannot be filled, such as those of one long word, end as they are.
    for _ in range(_TRIES * int(wanted.max(initial=0))):
        if ((used >= wanted) | (counts == 0)).all():
            break
        length = np.minimum(rng.geometric(_SPAN_STOP, len(row)), _LONGEST_SPAN)
        place = (rng.random(len(row)) * counts).astype(np.int64)
        # Spans do not touch, so that each has one fate.
        before = np.maximum(place - 1, 0)
        going = (counts > 0) & ~((place > 0) & taken[row, before] & follows[row, np.minimum(place, sizes.shape[1] - 1)])
        for step in range(_LONGEST_SPAN):
            at = np.minimum(place + step, sizes.shape[1] - 1)
            after = np.minimum(at + 1, sizes.shape[1] - 1)
            size = sizes[row, at]
            going &= (step < length) & (place + step < counts) & ~taken[row, at] & (used + size <= wanted)
            going &= ~((at + 1 < counts) & taken[row, after] & follows[row, after])
            if step:
                going &= follows[row, at]
            taken[row[going], at[going]] = True
            used += np.where(going, size, 0)
    return maskable & taken[row[:, None], word]


def _words(maskable: np.ndarray, begins_word: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of the word at each position, pieces of each word [rows, words], and number of words [rows]."""
    begins = maskable & begins_word
    word = np.maximum(np.cumsum(begins, axis=1) - 1, 0)
    counts = begins.sum(axis=1)
    most = max(1, int(counts.max(initial=0)))
    numbers = (np.arange(len(word))[:, None] * most + word)[maskable]
    sizes = np.bincount(numbers, minlength=len(word) * most).reshape(len(word), most)
    return word, sizes, counts
