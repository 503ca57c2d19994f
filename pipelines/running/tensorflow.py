"""TensorFlow's import in a worker, without what no step of a pipeline uses."""

import importlib
import sys

# Keras and TensorFlow Lite import these wherever they are installed, for wrappers and plots; a quarter of the time.
_UNUSED = ("jax", "matplotlib", "sklearn")


def load_tensorflow() -> None:
    """Imports TensorFlow and TF Text; call it before anything else does.

    Only these imports are without the unused libraries: what a user's own code imports later is there.
    """
    hidden = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not installed
    try:
        for name in ("tensorflow", "tensorflow_text"):
            importlib.import_module(name)
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
