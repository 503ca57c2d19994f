"""The documents of a pool as tokens, and the places where a sentence may be cut."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

SHORTEST_PIECE = 5  # tokens on either side of a cut, where a sentence need not be cut


@dataclasses.dataclass(frozen=True)
class TokenPool:
    """The documents of a pool, all tokens one behind the other.

    Attributes:
      tokens: ids, int32 [tokens].
      sentences: where each sentence begins in `tokens`, and the end of the last; int64 [sentences + 1]. None is empty.
      documents: where each document begins in `sentences`, and the end of the last; int64 [documents + 1].
      identities: what two documents with the same text share.
      begins_word: a byte for each token, 1 where a word begins.
      continues: a byte for each sentence, 1 if it is the rest of one that was cut.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray
    identities: Sequence[bytes]
    begins_word: bytes
    continues: bytes

    def cut(self, low: int, high: int) -> int:
        """The last place from `low` to `high` where a word begins; `high` where none does."""
        found = self.begins_word.rfind(1, low, high + 1)
        return high if found < 0 else found


def cut_sentences(pool: TokenPool, longest: int) -> TokenPool:
    """The same tokens in sentences of at most `longest` of them, where longer ones become pieces of about equal length.

    A document of one sentence becomes two pieces if it is long enough, so that its pair need not be a random one.
    """
    begins, ends = pool.sentences[:-1], pool.sentences[1:]
    lengths = ends - begins
    alone = pool.documents[:-1][np.diff(pool.documents) == 1]
    halved = alone[(lengths[alone] >= 2 * SHORTEST_PIECE) & (lengths[alone] <= longest)]
    cuts = [middle(pool, begin, end) for begin, end in zip(begins[halved].tolist(), ends[halved].tolist(), strict=True)]
    for index in np.flatnonzero(lengths > longest).tolist():
        cuts += _pieces(pool, int(begins[index]), int(ends[index]), longest)
    if not cuts:
        return pool
    places = np.sort(np.array(cuts, np.int64))
    sentences = np.sort(np.concatenate([pool.sentences, places]))
    continues = np.zeros(len(sentences) - 1, bool)
    continues[np.searchsorted(sentences, places)] = True
    documents = pool.documents + np.searchsorted(places, pool.sentences[pool.documents])
    return dataclasses.replace(pool, sentences=sentences, documents=documents, continues=continues.tobytes())


def _pieces(pool: TokenPool, begin: int, end: int, longest: int) -> Iterator[int]:
    """Where to cut a sentence: where a word begins, if one does in the second half of a piece."""
    while end - begin > longest:
        size = math.ceil((end - begin) / math.ceil((end - begin) / longest))
        begin = pool.cut(begin + max(1, size // 2), begin + size)
        yield begin


def middle(pool: TokenPool, begin: int, end: int) -> int:
    """Where to cut a sentence in two."""
    half = (end - begin) // 2
    return pool.cut(begin + max(1, half // 2), begin + half)


def end_that_fits(pool: TokenPool, begin: int, end: int, most: int) -> int:
    """The end of a sentence, or the last word begin in it that is not beyond `most`.

    Its beginning if it cannot be cut where a word begins, with SHORTEST_PIECE tokens on either side.
    """
    if end <= most:
        return end
    last = min(most, end - SHORTEST_PIECE)
    # A negative end would count from the pool's last token.
    return max(begin, pool.begins_word.rfind(1, begin + SHORTEST_PIECE, last + 1)) if last > begin else begin
