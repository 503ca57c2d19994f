"""What every section of a config is: a frozen dataclass whose fields carry their ranges. Standard library only.

Example:
  @dataclasses.dataclass(frozen=True, kw_only=True)
  class Windows(Section):
      section: ClassVar[str] = "data"
      stride: int = bounded(128, at_least=1)  # tokens

  Windows(stride=0)  # InputError: data.stride must be >= 1. Received: 0.
"""

import dataclasses
from typing import Any, ClassVar

from bert_tf.core.errors import require

_LIMITS = {
    "at_least": (">=", lambda value, limit: value >= limit),
    "above": (">", lambda value, limit: value > limit),
    "at_most": ("<=", lambda value, limit: value <= limit),
    "below": ("<", lambda value, limit: value < limit),
}
FROM_DATA = "from_data"


def bounded(default: Any, **limits: float) -> Any:
    """A field with limits: any of at_least, above, at_most and below. None passes, where the type allows it."""
    return dataclasses.field(default=default, metadata={"limits": limits})


def from_data(**limits: float) -> Any:
    """A field that is None until a run fills it in from its data; what a resumed run leaves out stays as it was."""
    return dataclasses.field(default=None, metadata={"limits": limits, FROM_DATA: True})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A section of a config; checks its fields' limits when it is made.

    Attributes:
      section: its name in the config, for errors; "" for the config itself.
    """

    section: ClassVar[str] = ""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            limits = field.metadata.get("limits", {})
            if isinstance(value, int | float) and not all(_LIMITS[n][1](value, limit) for n, limit in limits.items()):
                rule = " and ".join(f"{_LIMITS[name][0]} {limit}" for name, limit in limits.items())
                require(False, f"{self.place(field.name)} must be {rule}", value)

    def place(self, name: str) -> str:
        """A field as --set names it: section.field."""
        return f"{self.section}.{name}" if self.section else name
