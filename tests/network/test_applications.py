"""Models of keras.applications go all the way: converted, every site in effect, trained, exported, reloaded."""

import math

import pytest

from benchmarks.convert import converted


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("MobileNet", marks=pytest.mark.slow),  # as mbv1 and mbv2 of the ready spaces are
        pytest.param("MobileNetV2", marks=pytest.mark.slow),
        "MobileNetV3Small",
        pytest.param("MobileNetV3Large", marks=pytest.mark.slow),
        pytest.param("EfficientNetB0", marks=pytest.mark.slow),
        pytest.param("ResNet50", marks=pytest.mark.slow),
        pytest.param("VGG16", marks=pytest.mark.slow),
        pytest.param("DenseNet121", marks=pytest.mark.slow),
    ],
)
def test_an_architecture_goes_all_the_way(name):
    row = converted(name, samples=4, size=64)
    assert row["difference"] < 1e-4
    assert row["without_effect"] == []
    assert math.isfinite(row["loss"])
    assert row["weights_moved"] == row["weights"]
    assert row["export_difference"] < 1e-4
