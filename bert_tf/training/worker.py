"""A process's place among those that train together."""

from typing import NamedTuple


class Worker(NamedTuple):
    """One of the processes that train together; number 0 writes checkpoints, metrics and the model."""

    index: int = 0  # type: ignore[assignment]  # a tuple's methods of these names are of no use here
    count: int = 1  # type: ignore[assignment]

    @property
    def is_chief(self) -> bool:
        return self.index == 0
