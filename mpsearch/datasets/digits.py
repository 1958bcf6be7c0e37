"""Handwritten digits of 8x8 pixels, from scikit-learn."""

import numpy as np

from mpsearch.data import Data, Split
from mpsearch.errors import DataError


def digits(validation: int = 350, test: int = 350) -> Data:
    """Load scikit-learn's digits: 1,797 images of 10 classes, grey, values in [0, 1].

    The split is stratified by class and always the same. The images come with scikit-learn,
    nothing is downloaded.

    Args:
        validation: number of validation images, at least 10.
        test: number of test images, at least 10; the others are for training.

    Returns:
        Data with images of shape (n, 8, 8, 1), float32, and classes of shape (n,), int64.

    Raises:
        DataError: a split would have fewer than 10 images, one of each class.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, 1998 (its test part).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, classes = load_digits(return_X_y=True)
    train = len(classes) - validation - test
    if min(train, validation, test) < 10:
        raise DataError(
            f"each split of the {len(classes)} digits needs at least 10 images, but got train={train}, "
            f"validation={validation}, test={test}: ask for other sizes"
        )
    x = (images / 16.0).astype(np.float32).reshape(-1, 8, 8, 1)
    y = classes.astype(np.int64)
    x, x_test, y, y_test = train_test_split(x, y, test_size=test, stratify=y, random_state=0)
    x, x_validation, y, y_validation = train_test_split(x, y, test_size=validation, stratify=y, random_state=0)
    return Data(Split(x, y), Split(x_validation, y_validation), Split(x_test, y_test), name="digits")
