"""Images in folders, in real formats; Visual Wake Words."""

import numpy as np
import pytest
from PIL import Image

from mpsearch import datasets
from mpsearch.errors import DataError, DataMissingError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Data and cache folders of the test's own."""
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def write(folder, classes, count=10, kinds=("png", "jpg", "bmp", "webp", "ppm")):
    """Images of one grey value for each class and file."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            image = Image.new("L" if index % 2 else "RGB", (20 + index, 30), 100 * label + 5 * index)
            if image.mode == "RGB":
                image = Image.merge("RGB", [Image.new("L", image.size, 100 * label + 5 * index)] * 3)
            image.save(folder / name / f"{index:02d}.{kinds[index % len(kinds)]}", quality=100)


def test_each_class_is_divided_by_the_names_of_its_files(here):
    write(here / "cars", ("bus", "truck"))
    data = datasets.image_folder("cars", 16)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [16, 2, 2]
    assert data.train.y.tolist() == [0, 1] * 8
    assert data.train.x.shape == (16, 16, 16, 3)
    assert data.train.x.dtype == np.uint8
    values = data.train.x.mean((1, 2, 3))
    np.testing.assert_allclose(values, [100 * (i % 2) + 5 * (i // 2) for i in range(16)], atol=2.5)
    np.testing.assert_allclose(data.test.x.mean((1, 2, 3)), [45, 145], atol=2.5)
    assert data.inputs(data.train.x).max() <= 1
    assert data.name == "cars"


def test_images_are_decoded_once_and_anew_when_they_change(here, monkeypatch):
    write(here / "cars", ("bus", "truck"))
    first = datasets.image_folder("cars", 16)
    opened = []
    monkeypatch.setattr(Image, "open", lambda path, open=Image.open: opened.append(path) or open(path))
    assert datasets.image_folder("cars", 16).fingerprint == first.fingerprint
    assert opened == []
    Image.new("RGB", (40, 40), "red").save(here / "cars" / "bus" / "00.png")
    assert datasets.image_folder("cars", 16).fingerprint != first.fingerprint
    assert len(opened) == 16


def test_folders_for_the_parts_are_taken_as_they_are_and_subsets_are_balanced(here):
    for part, count in (("train", 8), ("validation", 3), ("test", 4)):
        write(here / "cars" / part, ("bus", "truck", "van"), count)
    data = datasets.image_folder("cars", 16)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [24, 9, 12]
    few = datasets.image_folder(str(here / "cars"), 16, subset=6)
    assert np.bincount(few.train.y).tolist() == [2, 2, 2]


def test_what_is_wrong_with_a_folder_is_named(here):
    with pytest.raises(DataMissingError, match=r"there is no folder of images `cars` .*a folder for each class"):
        datasets.image_folder("cars")
    write(here / "cars", ("bus", "truck"))
    (here / "cars" / "van").mkdir()
    with pytest.raises(DataError, match="the class `van` has no images"):
        datasets.image_folder("cars")
    (here / "cars" / "van" / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"notes\.txt is no image"):
        datasets.image_folder("cars")
    (here / "cars" / "van" / "notes.txt").rename(here / "cars" / "van" / "a.png")
    with pytest.raises(DataError, match="the class `van` has 1 images, too few for three parts"):
        datasets.image_folder("cars")
    for name in "bcd":
        (here / "cars" / "van" / f"{name}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"van/a\.png isn't a whole image"):
        datasets.image_folder("cars")
    with pytest.raises(DataMissingError, match="for each of the classes bus, tram, but has bus, truck, van"):
        datasets.image_folder("cars", classes=("bus", "tram"))
    with pytest.raises(DataError, match="must be parts of a whole"):
        datasets.image_folder("cars", classes=("bus", "truck"), test=1.0)


def test_a_part_with_other_classes_is_named(here):
    for part in ("train", "validation", "test"):
        write(here / "cars" / part, ("bus", "truck", "van")[: 3 if part == "train" else 2], 3)
    with pytest.raises(DataError, match=r"validation has the classes bus, truck, but .*train bus, truck, van"):
        datasets.image_folder("cars")


def test_values_that_eight_bits_cannot_hold_are_refused(here):
    write(here / "cars", ("bus", "truck"))
    Image.fromarray(np.full((20, 20), 30000, np.uint16)).save(here / "cars" / "bus" / "00.png")
    with pytest.raises(DataError, match=r"bus/00\.png must have 8 bits a channel, but is of Pillow's mode I;16"):
        datasets.image_folder("cars", 16)


def test_a_huge_image_is_named(here, monkeypatch):
    write(here / "cars", ("bus", "truck"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"bus/00\.png isn't a whole image \(Image size"):
        datasets.image_folder("cars", 16)


def test_hidden_folders_are_no_classes_and_a_subset_of_nothing_is_refused(here):
    write(here / "cars", ("bus", "truck"))
    (here / "cars" / ".ipynb_checkpoints").mkdir()
    assert len(datasets.image_folder("cars", 16).train) == 16
    with pytest.raises(DataError, match="`subset >= 1` must hold, but got 0"):
        datasets.image_folder("cars", 16, subset=0)


def test_a_truncated_image_is_named(here):
    write(here / "cars", ("bus", "truck"), kinds=("jpg",))
    path = here / "cars" / "truck" / "03.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"truck/03\.jpg isn't a whole image"):
        datasets.image_folder("cars")


def test_persons_are_class_1_of_visual_wake_words(here):
    with pytest.raises(DataMissingError, match=r"unpack vw_coco2014_96\.tar\.gz"):
        datasets.visual_wake_words()
    write(here / "vw_coco2014_96", ("person", "non_person"))
    data = datasets.visual_wake_words(subset=4)
    assert data.train.x.shape == (4, 96, 96, 3)
    assert data.train.x.mean((1, 2, 3)).round(-2).tolist() == [100, 0, 100, 0]
    assert data.train.y.tolist() == [0, 1, 0, 1]
