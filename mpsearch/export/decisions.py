"""What a model's outputs decide."""

import numpy as np


def middle_of(outputs: np.ndarray) -> float:
    """What a single output is compared with: a half where outputs are between 0 and 1, else zero."""
    return 0.5 if outputs.min(initial=0.0) >= 0.0 and outputs.max(initial=0.0) <= 1.0 else 0.0


def decisions(outputs: np.ndarray, middle: float) -> np.ndarray:
    """The largest of the last axis; of a single output whether it is above the middle. Integers (...)."""
    if outputs.shape[-1] > 1:
        return outputs.argmax(axis=-1)
    return (outputs[..., 0] > middle).astype(np.int64)
