"""Optional dependencies of datasets, imported when a dataset is loaded."""

import importlib
from typing import Any


def require(module: str, package: str) -> Any:
    """Import an optional module.

    Args:
        module: dotted name, such as "sklearn.datasets".
        package: what installs it, such as "scikit-learn".

    Returns:
        The module.

    Raises:
        ImportError: it isn't installed; the message names the package and mpsearch's extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this dataset needs `{module}`, which can't be imported ({error}): "
            f"pip install {package}, or pip install 'mpsearch[datasets]'"
        ) from error
