"""The errors of mpsearch: one root, each also the builtin it refines.

Every message says what was found, what was expected and how to mend it.
"""


class MpsearchError(Exception):
    """Root of all errors raised on purpose by mpsearch."""


class SpaceError(MpsearchError, ValueError):
    """A search space that contradicts itself or the model."""


class ConfigError(MpsearchError, ValueError):
    """A config that is incomplete, malformed, or outside its space."""


class ModelError(MpsearchError, ValueError):
    """A Keras model that can't be quantized as it stands."""


class DataError(MpsearchError, ValueError):
    """Data that is missing, malformed, or doesn't fit the model."""


class DataMissingError(DataError, FileNotFoundError):
    """A dataset's or weights file that isn't where it was looked for."""


class StudyError(MpsearchError, RuntimeError):
    """A study that doesn't exist, exists already, or doesn't fit its space."""


class TrainingError(MpsearchError, ArithmeticError):
    """Training that broke down, for instance by a loss that is not a number."""


class ExportError(MpsearchError, RuntimeError):
    """A model that can't be exported, or whose exported file differs from it."""


class MissingPackageError(MpsearchError, ImportError):
    """A package that isn't installed, of those that mpsearch needs for some things only."""
