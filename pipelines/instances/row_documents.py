"""Which documents the rows of a pool were made from, through pairs and packing. Plain functions, vectorised."""

import numpy as np

from pipelines.instances.packing import Packing
from pipelines.instances.sentence_pairs import Pairs


def rows_by_document(pairs: Pairs, packing: Packing, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each document.

    Args:
      pairs: the instances.
      packing: which of them make up each row.
      begins: where each document begins among the tokens that the pairs point to; int64 [documents].

    Returns:
      `rows` and `starts` of RowDocuments.
    """
    row_of = np.empty(len(pairs), np.int64)
    row_of[packing.instances] = np.repeat(np.arange(len(packing)), np.diff(packing.rows))
    starts = np.concatenate([pairs.first_start, pairs.second_start])
    ends = np.concatenate([pairs.first_end, pairs.second_end])
    is_there = ends > starts
    first = np.searchsorted(begins, starts[is_there], "right") - 1
    last = np.searchsorted(begins, ends[is_there] - 1, "right") - 1
    counts = last - first + 1
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    document = np.repeat(first, counts) + within
    row = np.repeat(np.concatenate([row_of, row_of])[is_there], counts)
    document, row = np.divmod(np.unique(document * max(1, len(packing)) + row), max(1, len(packing)))
    return row, np.searchsorted(document, np.arange(len(begins) + 1))
