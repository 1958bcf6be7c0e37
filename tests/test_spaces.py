"""The ready spaces: each loads, and its model resolves, whether its data are there or not."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest

import mpsearch
from mpsearch import datasets, facts_of
from mpsearch.config import Role
from mpsearch.datasets import CIFAR10_CLASSES
from mpsearch.records import State
from mpsearch.spacefile import load_space_file
from tests.realdata import write_cifar10, write_fashion_mnist, write_fsdd, write_images

FILES = sorted((Path(__file__).parents[1] / "spaces").glob("*.py"))
KERNELS = {
    "cnn": 2, "digits": 6, "ds_cnn": 10, "efficientnetb0": 82, "fc_autoencoder": 10, "mbv1": 28, "mbv2": 54,
    "mbv2_half": 54, "mobilenet": 28, "mobilenetv3large": 64, "resnet8": 10, "vgg16": 15,
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_ready_space_loads_and_its_model_resolves(path):
    file = load_space_file(path)
    facts = facts_of(file.task.build(), True, file.space.requantize_merge_inputs)
    space = file.space.resolve(facts)
    kernels = sum(site.role is Role.KERNEL for site in facts.sites)
    assert kernels == KERNELS[path.stem]
    assert space.size >= 3**kernels
    assert file.task.finetune_recipe.epochs >= file.task.training.epochs


def test_every_ready_space_is_counted():
    assert {path.stem for path in FILES} == set(KERNELS)


# the shape of its images, what is asked of its own loader, or the loader that its docstring names
SMALL = {
    "cnn": ((28, 28, 1), {"validation": 32}),
    "digits": ((8, 8, 1), {"validation": 32, "test": 1700}),
    "ds_cnn": ((49, 10, 1), {"train": 64}),
    "efficientnetb0": ((32, 32, 3), {"train": 64, "validation": 32, "size": 32}),
    "fc_autoencoder": ((640,), {}),
    "mbv1": ((32, 32, 3), datasets.visual_wake_words),
    "mbv2": ((32, 32, 3), {"train": 64, "validation": 32, "size": 32}),
    "mbv2_half": ((32, 32, 3), {"size": 32}),
    "mobilenet": ((32, 32, 3), {"validation": 32}),
    "mobilenetv3large": ((32, 32, 3), {"size": 32}),
    "resnet8": ((16, 16, 3), {"train": 64, "validation": 32}),
    "vgg16": ((32, 32, 3), {"validation": 32}),
}
# the sampler auto measures each choice's sensitivity first, of these networks' by some hundred passes, or slow ones; a
# float training takes as long to trace as a quantized one; and `export.test_ready_spaces` has them in all formats
LARGE = ("efficientnetb0", "mbv2", "mbv2_half", "mobilenet", "mobilenetv3large", "vgg16")
ALIKE = ("mbv2_half", "mobilenet")  # but for their widths and sizes as mbv2 and mbv1 are: `make slow` tries them


@dataclass(frozen=True)
class Halved:
    """Half the height and width, means of four pixels each; behind a `prepare`."""

    prepare: Callable[[np.ndarray], np.ndarray]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = self.prepare(x)
        return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3]).mean((2, 4))


def small_data(name, load, shared, folder):
    """Real data for a ready space, by its own loader; a small part of it, at the size of `SMALL`."""
    shape, wanted = SMALL[name]
    if name in ("mobilenetv3large", "mbv2_half"):
        classes = CIFAR10_CLASSES if name == "mbv2_half" else [f"pose_{index:02d}" for index in range(43)]
        write_images(shared, folder / "images", classes, 8 if name == "mbv2_half" else 3)
    elif wanted is datasets.visual_wake_words:
        write_images(shared, folder / "vw_coco2014_96", ("non_person", "person"), 40)
        return wanted(size=shape[0])
    elif name in ("ds_cnn", "fc_autoencoder"):
        write_fsdd(shared, folder)
    elif name in ("cnn", "mobilenet", "vgg16"):
        write_fashion_mnist(folder)
    elif name != "digits":
        write_cifar10(shared, folder)
    data = load(**wanted)
    return replace(data, prepare=Halved(data.prepare)) if name == "resnet8" else data


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in ALIKE else (), id=path.stem) for path in FILES],
)
def test_a_ready_space_goes_all_the_way_on_small_real_data(path, shared, tmp_path, monkeypatch):
    """Its model and its space, on a few real images or recordings: created, two trials, fine-tuned, exported.

    Trials are by the usual sampler, from float weights that are trained first; those of the spaces of `LARGE` are by
    `random`, from random float weights in a file, and are exported to one format.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path))
    file, (shape, _) = load_space_file(path), SMALL[path.stem]
    data = small_data(path.stem, file.task.data, shared, tmp_path)
    assert data.inputs(data.train.x[:2]).shape == (2, *shape)
    model = file.task.model
    if not data.reconstructs:
        model = functools.partial(model, input_shape=shape)
        assert set(np.unique(data.train.y)) == set(range(model().output_shape[-1]))
    recipes = {
        name: replace(recipe, epochs=1, batch_size=32)
        for name, recipe in (
            ("training", file.task.training),
            ("float_training", file.task.float_recipe),
            ("finetuning", file.task.finetune_recipe),
        )
    }
    task, sampler, weights = file.task, None, None
    if path.stem in LARGE:
        sampler, weights = "random", tmp_path / "random.weights.h5"
        model().save_weights(weights)
        del recipes["float_training"]
    study = mpsearch.search(
        model, data, file.space, trials=2, name=path.stem, loss=task.loss, metric=task.metric,
        further_metrics=task.further_metrics, sampler=sampler, weights=weights, quiet=True, **recipes,
    )  # fmt: skip
    assert [record.state for record in study.study.records()] == [State.COMPLETE, State.COMPLETE]
    tuned = study.finetune()
    assert tuned.epochs == 1
    assert set(tuned.further) == set(task.further_metrics)
    for exported in study.export(tmp_path / "out", formats="onnx" if path.stem in LARGE else "onnx,keras"):
        assert exported.path.is_file()
        assert exported.payload is None or abs(exported.payload - exported.flash) <= 0.02 * exported.flash


def test_mobilenetv2_of_half_width_is_kerass_but_for_its_first_expansion():
    """The first bottleneck keeps its expansion, 16 to 16 channels: a kernel, and four numbers for each of its norms."""
    model = load_space_file(FILES[0].parent / "mbv2_half.py").task.build()
    theirs = keras.applications.MobileNetV2((224, 224, 3), alpha=0.5, weights=None, classes=10)
    assert model.count_params() == theirs.count_params() + 16 * 16 + 4 * 16 == 719_354
