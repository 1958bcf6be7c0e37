"""Visual Wake Words: whether a person is in a photo."""

from mpsearch.data import Data
from mpsearch.datasets.image_folder import image_folder
from mpsearch.datasets.sources import SOURCES
from mpsearch.errors import DataMissingError

WAKE_WORDS = ("non_person", "person")
_SOURCE = SOURCES["visual_wake_words"]


def visual_wake_words(size: int = 96, subset: int | None = None, folder: str = _SOURCE.roots[0]) -> Data:
    """Load Visual Wake Words as MLPerf Tiny distributes them: `vw_coco2014_96` with `non_person` and `person`.

    A tenth of each class is for validation and another for test, the last ones by name, since these files name no
    parts; a folder with `train`, `validation` and `test` is taken as it is divided.

    Args:
        size: height and width of the model's inputs, in pixels.
        subset: images of each part at most, balanced.
        folder: name of the folder, in a data folder, or its path.

    Returns:
        Data with images of shape (n, size, size, 3), uint8, which `prepare` scales to [0, 1], and classes of shape
        (n,), int64: 1 where there is a person.

    Raises:
        DataMissingError: there is no such folder, or it lacks a class.
        DataError: a class has no images, or a file isn't a whole image.

    Source: A. Chowdhery et al., Visual Wake Words Dataset, arXiv:1906.05721, made of COCO;
    `training/visual_wake_words` of github.com/mlcommons/tiny says where its archive is.
    """
    try:
        return image_folder(folder, size, classes=WAKE_WORDS, subset=subset)
    except DataMissingError as error:
        raise DataMissingError(
            f"{error}; Visual Wake Words: unpack vw_coco2014_96.tar.gz, of {_SOURCE.origin}, into MPSEARCH_DATA, or "
            f"have it downloaded: {_SOURCE.command}"
        ) from error
