"""Elements that a Beam step yields at the end of a bundle."""

from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue


def at_bundle_end(element) -> WindowedValue:
    """Wraps an element that finish_bundle yields: Beam needs a window, and no input element gives one."""
    return WindowedValue(element, GlobalWindow().max_timestamp(), (GlobalWindow(),))
