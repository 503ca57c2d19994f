"""What a Beam step gives at the end of a bundle."""

from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue


def at_bundle_end(element) -> WindowedValue:
    """An element as finish_bundle must give it, where it belongs to no element that came in."""
    return WindowedValue(element, GlobalWindow().max_timestamp(), (GlobalWindow(),))
