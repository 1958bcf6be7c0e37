"""The ready spaces: each loads, and its model resolves, whether its data are there or not."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mpsearch
from mpsearch import Data, Split, facts_of
from mpsearch.config import Role
from mpsearch.records import State
from mpsearch.spacefile import load_space_file

FILES = sorted((Path(__file__).parents[1] / "spaces").glob("*.py"))
KERNELS = {
    "cnn": 2, "digits": 6, "ds_cnn": 10, "efficientnetb0": 82, "fc_autoencoder": 10, "mbv1": 28, "mbv2": 54,
    "mobilenet": 28, "mobilenetv3large": 64, "resnet8": 10, "vgg16": 15,
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


SHAPES = {
    "cnn": (28, 28, 1), "digits": (8, 8, 1), "ds_cnn": (49, 10, 1), "efficientnetb0": (32, 32, 3),
    "fc_autoencoder": (40,), "mbv1": (32, 32, 3),
    "mbv2": (32, 32, 3), "mobilenet": (32, 32, 3), "mobilenetv3large": (32, 32, 3), "resnet8": (16, 16, 3),
    "vgg16": (32, 32, 3),
}  # fmt: skip
QUICK = ("cnn", "digits", "ds_cnn", "fc_autoencoder", "resnet8")


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem in QUICK else pytest.mark.slow, id=path.stem) for path in FILES],
)
def test_a_ready_space_goes_all_the_way_on_small_images(path, tmp_path, monkeypatch):
    """Its model and its space, on few random images: created, two trials, fine-tuned, exported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file, shape, rng = load_space_file(path), SHAPES[path.stem], np.random.default_rng(0)
    reconstructs = file.task.loss == "mean_squared_error"
    size = {"inputs": shape[0]} if reconstructs else {"input_shape": shape}
    model = functools.partial(file.task.model, **size)
    classes = model().output_shape[-1]

    def split(count):
        numbers = np.arange(count)
        y = np.stack([numbers // 2, numbers // 2 % 2], axis=1) if reconstructs else numbers % classes
        return Split(rng.uniform(0, 1, (count, *shape)).astype(np.float32), y)

    data = Data(split(64), split(32), split(32), name=path.stem, reconstructs=reconstructs)
    recipes = {
        name: replace(recipe, epochs=1, batch_size=32)
        for name, recipe in (
            ("training", file.task.training),
            ("float_training", file.task.float_recipe),
            ("finetuning", file.task.finetune_recipe),
        )
    }
    task = file.task
    study = mpsearch.search(
        model, data, file.space, trials=2, name=path.stem, loss=task.loss, metric=task.metric,
        further_metrics=task.further_metrics, quiet=True, **recipes,
    )  # fmt: skip
    assert [record.state for record in study.study.records()] == [State.COMPLETE, State.COMPLETE]
    tuned = study.finetune()
    assert tuned.epochs == 1
    assert set(tuned.further) == set(task.further_metrics)
    study.export(tmp_path / "out")
    assert (tmp_path / "out" / "model.keras").is_file()
