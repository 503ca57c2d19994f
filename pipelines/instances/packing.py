"""Several instances in one row, so that few positions are padding; no instance sees another (sequence_ids).

Best fit, longest first, over the histogram of room that is left in open rows (Krell et al. 2021, "Efficient sequence
packing without cross-contamination", 3.1), with a limit on predictions and sequences beside the one on positions.
"""

import dataclasses

import numpy as np

from bert_tf.core.records import RecordLayout


@dataclasses.dataclass(frozen=True)
class Packing:
    """Which instances lie in which row.

    Attributes:
      instances: numbers of instances, row by row; int64 [instances].
      rows: where each row begins in `instances`, and the end of the last; int64 [rows + 1].
    """

    instances: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows) - 1

    def take(self, order: np.ndarray) -> "Packing":
        """The rows of the given numbers, in that order."""
        sizes = np.diff(self.rows)[order]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
        return Packing(self.instances[np.repeat(self.rows[:-1][order], sizes) + within], starts)


def pack(lengths: np.ndarray, predictions: np.ndarray, layout: RecordLayout) -> Packing:
    """Assigns instances to rows.

    Args:
      lengths: tokens of each instance, special tokens included; int [instances].
      predictions: masked positions of each instance, at most; int [instances].
      layout: of a packed row.
    """
    rows: list[list[int]] = []
    predictions_left: list[int] = []
    by_room: list[list[int]] = [[] for _ in range(layout.max_seq_length + 1)]  # open rows by the room left in them
    rooms = 0  # bit r is set if by_room[r] is not empty: the smallest room that is enough is found at once
    order = np.lexsort((np.arange(len(lengths)), -lengths))
    sizes, masked = lengths.tolist(), predictions.tolist()
    for instance in order.tolist():
        size, wanted = sizes[instance], masked[instance]
        row, room = None, layout.max_seq_length
        enough = rooms >> size << size
        while enough:
            candidate = (enough & -enough).bit_length() - 1
            if predictions_left[by_room[candidate][-1]] >= wanted:
                room = candidate
                row = by_room[room].pop()
                if not by_room[room]:
                    rooms &= ~(1 << room)
                break
            enough &= enough - 1
        if row is None:
            row = len(rows)
            rows.append([])
            predictions_left.append(layout.max_predictions_per_seq)
        rows[row].append(instance)
        predictions_left[row] -= wanted
        room -= size
        if room and len(rows[row]) < layout.max_sequences_per_row:
            by_room[room].append(row)
            rooms |= 1 << room
    return Packing(
        np.array([instance for row in rows for instance in row], np.int64),
        np.cumsum([0, *map(len, rows)]).astype(np.int64),
    )


def pack_rows(
    features: dict[str, np.ndarray], sequences: np.ndarray, layout: RecordLayout, pad: int
) -> dict[str, np.ndarray]:
    """Joins instances that follow each other into rows.

    Args:
      features: of the instances, as a record has them without packing.
      sequences: how many of them each row takes; int [rows].
      layout: of a packed row.
      pad: the id of [PAD].

    Returns:
      Every feature of the layout, [rows, ...].
    """
    used = features["input_mask"] == 1
    lengths = used.sum(axis=1)
    row = np.repeat(np.arange(len(sequences)), sequences)  # of each instance
    first = np.concatenate([[0], np.cumsum(sequences)[:-1]])
    number = np.arange(len(row)) - first[row]  # of each instance in its row
    before = np.concatenate([[0], np.cumsum(lengths)])
    offset = before[:-1] - before[first][row]
    row_lengths = np.bincount(row, lengths, len(sequences)).astype(np.int64)

    def joined(values, is_valid, row_sizes, width):
        out = np.zeros((len(sequences), width), values.dtype)
        # Instances lie in the order of rows, so what is valid in them lies in the order of what is valid in rows.
        out[np.arange(width) < row_sizes[:, None]] = values[is_valid]
        return out

    positions = np.broadcast_to(np.arange(used.shape[1]), used.shape)
    packed = {
        name: joined(values, used, row_lengths, layout.max_seq_length)
        for name, values in (
            *((name, features[name]) for name in ("input_word_ids", "input_mask", "input_type_ids")),
            ("position_ids", positions),
            ("sequence_ids", np.broadcast_to(number[:, None] + 1, used.shape)),
        )
    }
    packed["input_word_ids"][packed["input_mask"] == 0] = pad
    if layout.max_predictions_per_seq:
        is_prediction = features["masked_lm_weights"] == 1
        row_predictions = np.bincount(row, is_prediction.sum(axis=1), len(sequences)).astype(np.int64)
        for name, values in (
            ("masked_lm_positions", features["masked_lm_positions"] + offset[:, None]),
            ("masked_lm_ids", features["masked_lm_ids"]),
            ("masked_lm_weights", features["masked_lm_weights"]),
        ):
            packed[name] = joined(values, is_prediction, row_predictions, layout.max_predictions_per_seq)
    if layout.has_pairs:
        for name, values in (
            ("next_sentence_labels", features["next_sentence_labels"][:, 0]),
            ("next_sentence_positions", offset),
            ("next_sentence_weights", np.ones(len(row), np.float32)),
        ):
            packed[name] = np.zeros((len(sequences), layout.max_sequences_per_row), values.dtype)
            packed[name][row, number] = values
    return packed
