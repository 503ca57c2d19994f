"""Masked-LM selection, WordPiece by WordPiece, for all rows of a pool at once (Devlin et al. 2018, 3.1)."""

import numpy as np

from bert_tf.vocabulary import Vocabulary


def mask_tokens(
    word_ids: np.ndarray,
    maskable: np.ndarray,
    *,
    vocabulary: Vocabulary,
    masked_lm_prob: float,
    max_predictions_per_seq: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Chooses positions, remembers their ids and hides them.

    Of a row with n tokens, min(max_predictions_per_seq, max(1, round(n * masked_lm_prob))) are chosen; n counts [CLS]
    and [SEP], which themselves are never chosen. A chosen token becomes [MASK] with probability 0.8, a token drawn
    from the whole vocabulary with 0.1, and stays with 0.1.

    Args:
      word_ids: int [rows, max_seq_length].
      maskable: bool, the same shape: False at padding, [CLS] and [SEP].

    Returns:
      input_word_ids [rows, max_seq_length], masked_lm_positions, masked_lm_ids and masked_lm_weights
      [rows, max_predictions_per_seq].
    """
    rows = len(word_ids)
    candidates = maskable.sum(axis=1)
    lengths = (word_ids != vocabulary["[PAD]"]).sum(axis=1)
    wanted = np.maximum(1, np.rint(lengths * masked_lm_prob).astype(np.int64))
    wanted = np.minimum(np.minimum(wanted, max_predictions_per_seq), candidates)

    # The positions with the smallest of independent uniform keys are a uniform choice without replacement.
    keys = np.where(maskable, rng.random(word_ids.shape), np.inf)
    order = np.argsort(keys, axis=1)[:, :max_predictions_per_seq]
    chosen = np.arange(order.shape[1]) < wanted[:, None]
    positions = np.sort(np.where(chosen, order, np.iinfo(np.int64).max), axis=1)
    positions = np.where(chosen, positions, 0)
    width = max_predictions_per_seq - positions.shape[1]
    positions, chosen = (np.pad(a, ((0, 0), (0, width))) for a in (positions, chosen))

    original = np.take_along_axis(word_ids, positions, axis=1)
    action = rng.random(positions.shape)
    random_ids = rng.integers(0, len(vocabulary), positions.shape)
    replacement = np.where(action < 0.8, vocabulary["[MASK]"], np.where(action < 0.9, random_ids, original))
    masked = word_ids.copy()
    row_index = np.broadcast_to(np.arange(rows)[:, None], positions.shape)
    masked[row_index[chosen], positions[chosen]] = replacement[chosen]
    return {
        "input_word_ids": masked,
        "masked_lm_positions": positions,
        "masked_lm_ids": np.where(chosen, original, 0),
        "masked_lm_weights": chosen.astype(np.float32),
    }
