"""Import TensorFlow without looking for garbage meanwhile."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import large modules: Python looks for no garbage meanwhile, nor later among all that there is by then.

    What an import makes stays. Looking through it again and again takes a sixth of the time that importing TensorFlow
    takes (`benchmarks/importing.py`). For processes of our own: garbage that there is by then, in cycles, stays too.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()
