"""The ready spaces: each loads, and its model resolves, whether its data are there or not."""

from pathlib import Path

import pytest

from mpsearch import facts_of
from mpsearch.config import Role
from mpsearch.spacefile import load_space_file

FILES = sorted((Path(__file__).parents[1] / "spaces").glob("*.py"))
KERNELS = {
    "cnn": 2, "digits": 6, "ds_cnn": 10, "efficientnetb0": 82, "mbv1": 28, "mbv2": 54, "mobilenet": 28,
    "mobilenetv3large": 64, "resnet8": 10, "vgg16": 15,
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
