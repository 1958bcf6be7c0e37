"""Patterns: names, globs, classes, regular expressions and predicates, for layers, their parts and applications."""

import re

import numpy as np
import pytest

from mpsearch.config import Role
from mpsearch.errors import SpaceError
from mpsearch.patterns import Selector, select
from tests.space.networks import chain, parts

FACTS = chain("conv_1", "conv_10", "dense")


class Conv2D:
    """Stands for Keras's class, of which only the name counts."""


def kernels(pattern, where=None, facts=FACTS):
    found = select("x", Selector(pattern, where), facts, (Role.KERNEL,))
    return [site.removesuffix("/kernel") for site in found]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("conv_1", ["conv_1"]),
        ("conv_*", ["conv_1", "conv_10"]),
        ("Dense", ["dense"]),
        (Conv2D, ["conv_1", "conv_10"]),
        (re.compile("conv_[0-9]"), ["conv_1"]),
        (re.compile("conv_[0-9]+|dense"), ["conv_1", "conv_10", "dense"]),
        (re.compile("CONV.*", re.IGNORECASE), ["conv_1", "conv_10"]),
        ("*", ["conv_1", "conv_10", "dense"]),
    ],
)
def test_a_layer_is_named_by_name_glob_class_or_regular_expression(pattern, found):
    assert kernels(pattern) == found


def test_a_predicate_narrows_a_pattern_by_site_facts():
    assert kernels("*", lambda site: site.elements > 40) == ["conv_10", "dense"]
    assert kernels("conv_*", lambda site: site.elements > 40) == ["conv_10"]
    assert kernels("*", lambda site: np.all(np.array(site.shape) < 17)) == ["conv_1"]
    assert kernels(Conv2D, lambda site: "input/activation" in site.producers) == ["conv_1"]


def test_a_predicate_is_asked_of_sites_that_may_be_meant_alone():
    asked = []
    kernels("conv_*", lambda site: bool(asked.append(site.name)) or True)
    assert set(asked) == {"conv_1/kernel", "conv_10/kernel"}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("sep", ["sep_depthwise/kernel", "sep_pointwise/kernel", "sep_pointwise/activation"]),
        ("sep_depthwise", ["sep_depthwise/kernel"]),
        ("sep_*", ["sep_depthwise/kernel", "sep_pointwise/kernel", "sep_pointwise/activation"]),
        ("encoder.dense", ["encoder.dense/kernel", "encoder.dense/activation", "encoder.dense.2/activation"]),
        ("encoder.dense.2", ["encoder.dense.2/activation"]),
        ("encoder.*", ["encoder.dense/kernel", "encoder.dense/activation", "encoder.dense.2/activation"]),
        (re.compile(r".*\.2"), ["encoder.dense.2/activation"]),
    ],
)
def test_parts_and_applications_of_a_layer_are_named_too(pattern, found):
    assert select("x", Selector(pattern), parts(), tuple(Role)) == found


@pytest.mark.parametrize(
    ("pattern", "where", "message"),
    [
        ("conv_2", None, r"x matches no layer of `chain`; did you mean `conv_1`"),
        (re.compile("conv"), None, "x matches no layer of `chain`"),
        (Selector, None, "x matches no layer of `chain`; there are input, conv_1"),
        ("input", None, r"x matches input \(InputLayer\), but none has a quantizable kernel"),
        ("conv_*", lambda site: False, "x matches conv_1/kernel, conv_10/kernel, but `where` holds for none of them"),
        ("*", lambda site: site.size > 3, "`where` failed at `conv_1/kernel`: AttributeError"),
        ("*", lambda site: site.elements, "must return True or False, but at `conv_1/kernel` it returned 30"),
    ],
)
def test_selectors_that_mean_nothing_are_refused(pattern, where, message):
    with pytest.raises(SpaceError, match=message):
        kernels(pattern, where)


def test_a_part_that_is_misspelt_is_guessed():
    with pytest.raises(SpaceError, match="did you mean `sep_depthwise`"):
        select("x", Selector("sep_depthwse"), parts(), tuple(Role))


@pytest.mark.parametrize(("pattern", "where"), [(3, None), ("", None), (None, None), (["a"], None), ("a", "b")])
def test_what_is_no_pattern_or_predicate_is_refused(pattern, where):
    with pytest.raises(SpaceError, match="must be a"):
        Selector(pattern, where)


def test_errors_name_a_statement_as_it_was_written():
    assert Selector("conv_*").call("at", "kernel=…") == 'at("conv_*", kernel=…)'
    assert Selector(re.compile("a+"), bool).call("skip") == "skip(re.compile('a+'), where=…)"
    assert Selector(Conv2D).call("skip") == "skip(Conv2D)"
