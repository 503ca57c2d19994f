"""A byte trie as a double array in the layout of darts-clone, the one that TF Text's kernels walk.

One unit is 32 bits. For a node: bits 0-7 its label, bit 8 whether a key ends here, bits 10-31 the offset. The child of
node `i` over label `c` is unit `i ^ offset ^ c`, and is there if it carries that label; the value of a key that ends in
`i` is unit `i ^ offset`, marked by bit 31. (J. Aoe, "An Efficient Digital Search Algorithm by Using a Double-Array
Structure", 1989; S. Yata, darts-clone.)
"""

from collections.abc import Mapping

import numpy as np

_BLOCK = 256  # a label is one byte, and a base xor a label stays within its block
_OPEN_BLOCKS = 4  # looking for room in more of them costs more time than it saves space
_KEY_ENDS = 1 << 8
_VALUE = 1 << 31
_END = 0  # the label under which a node keeps its value; no key holds a zero byte


def build(entries: Mapping[bytes, int]) -> np.ndarray:
    """Builds the trie of `entries`: keys without zero bytes -> values below 2**31.

    Equal subtrees are stored once, so many keys that share their endings and values cost little.

    Returns:
      uint32 [units].
    """
    root: dict = {}
    for key, value in entries.items():
        node = root
        for label in key:
            node = node.setdefault(label, {})
        node[_END] = value

    # Children of a node as (label, value or number of the child's own set), each different set numbered once.
    numbers: dict[tuple, int] = {}

    def number(node: dict) -> int:
        children = tuple((label, child if label == _END else number(child)) for label, child in sorted(node.items()))
        return numbers.setdefault(children, len(numbers))

    number(root)
    sets = list(numbers)
    bases = _place([[label for label, _ in children] for children in sets])

    units = np.zeros(-(-max(base | (_BLOCK - 1) for base in bases) // _BLOCK) * _BLOCK, np.uint32)

    def unit(position: int, label: int, child: int) -> int:
        ends = _KEY_ENDS if sets[child][0][0] == _END else 0
        return (position ^ bases[child]) << 10 | ends | label

    for children, base in zip(sets, bases, strict=True):
        for label, child in children:
            position = base ^ label
            units[position] = _VALUE | child if label == _END else unit(position, label, child)
    units[0] = unit(0, 0, len(sets) - 1)  # the root is numbered last
    return units


def _place(label_sets: list[list[int]]) -> list[int]:
    """A base for each set of labels.

    No two units fall on one another, none on the root's, unit 0. No base serves two sets: only so does a unit's label
    tell whose child it is.
    """
    bases = [0] * len(label_sets)
    used = np.zeros((0, _BLOCK), bool)  # units
    is_base = np.zeros((0, _BLOCK), bool)
    candidates = np.arange(_BLOCK)
    values = []
    for index in sorted(range(len(label_sets)), key=lambda i: -len(label_sets[i])):
        labels = label_sets[index]
        if labels == [_END]:
            values.append(index)
            continue
        taken = candidates[:, None] ^ np.array(labels)
        for block in range(max(0, len(used) - _OPEN_BLOCKS), len(used) + 1):
            if block == len(used):
                used, is_base = (np.vstack([table, np.zeros((1, _BLOCK), bool)]) for table in (used, is_base))
                used[0, 0] = True
            free = ~(used[block][taken].any(axis=1) | is_base[block])
            if free.any():
                base = int(free.argmax())
                used[block, taken[base]] = is_base[block, base] = True
                bases[index] = block * _BLOCK + base
                break
    # Values of keys that no other key continues fill the gaps.
    gaps = np.flatnonzero(~(used | is_base).ravel())
    gaps = np.concatenate([gaps, used.size + np.arange(max(0, len(values) - len(gaps)))])
    for index, gap in zip(values, gaps.tolist(), strict=False):
        bases[index] = gap
    return bases
