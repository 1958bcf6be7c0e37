"""Space files: where they are found, and what is said where they are wrong."""

import hashlib
import pickle
import sys
from pathlib import Path

import pytest

from mpsearch.errors import ConfigError, DataMissingError, SpaceError
from mpsearch.spacefile import find_space_file, load_space_file

GOOD = """
from mpsearch import ForgivingFactor, Space, Task, bits
task = Task(model=lambda: None, data=lambda: None)
space = Space(kernel=bits(4, 8))
"""


def written(folder, text):
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_files_are_found_as_given_then_in_spaces_then_among_the_shipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_space_file("resnet8.py").name == "resnet8.py"
    assert find_space_file("mbv2").name == "mbv2.py"
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "resnet8.py").write_text(GOOD)
    assert find_space_file("resnet8.py").resolve() == tmp_path / "spaces" / "resnet8.py"
    (tmp_path / "resnet8.py").write_text(GOOD)
    assert find_space_file("resnet8.py").resolve() == tmp_path / "resnet8.py"


def test_a_missing_file_is_named_with_places_and_a_guess(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataMissingError, match=r"no space file `resnet9` .*spaces.*did you mean resnet8.py\?"):
        find_space_file("resnet9")


def test_a_good_file_is_executed_with_its_optional_parts(tmp_path):
    file = load_space_file(written(tmp_path, GOOD + "forgiving = ForgivingFactor(delta_p=8)\n"))
    assert file.forgiving.delta_p == 8
    assert file.reference.bias == 31
    assert len(file.hash) == 16


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (GOOD.replace("space =", "spaces ="), SpaceError, "defines no `space`"),
        (GOOD + "task = 3\n", SpaceError, "`task` must be a Task, but is 3"),
        (GOOD + "space.pin('a')\n", SpaceError, r"mine.py, line 5: pin\(\"a\"\) needs"),
        (GOOD + "bits(1)\n", ConfigError, "line 5: a width must be an integer from 2 to 32"),
        (GOOD + "1/0\n", SpaceError, "line 5: ZeroDivisionError"),
        (GOOD + "def\n", SpaceError, "line 5: SyntaxError"),
    ],
)
def test_wrong_files_are_refused_with_the_line(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        load_space_file(written(tmp_path, text))


@pytest.mark.parametrize("name", ["digits.py", "resnet8.py", "mbv2.py"])
def test_shipped_space_files_load(name):
    assert load_space_file(find_space_file(name)).space.kernel is not None


# Names


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "forgive = ForgivingFactor(delta_p=80)",
            "`forgive` is a ForgivingFactor, but only the one called `forgiving`",
        ),
        ("references = ReferenceBits()", "`references` is a ReferenceBits, .* called `reference` is used: rename it"),
        ("other = Space()", "`other` is a Space, but only the one called `space` is used"),
        ("tasks = Task(model=None, data=None)", "`tasks` is a Task, .* or call it `_tasks` where it only helps"),
        ("reference = Space()", "`reference` must be a ReferenceBits, but is Space"),
    ],
)
def test_a_part_under_a_name_that_nothing_reads_is_refused(tmp_path, line, message):
    with pytest.raises(SpaceError, match=message):
        load_space_file(written(tmp_path, GOOD + f"from mpsearch import ReferenceBits\n{line}\n"))


def test_parts_that_help_to_make_others_begin_with_an_underscore(tmp_path):
    lines = "_half = ForgivingFactor(stress=0.5)\nforgiving = ForgivingFactor(stress=_half.stress)\nalso = forgiving\n"
    text = GOOD + lines
    assert load_space_file(written(tmp_path, text)).forgiving.stress == 0.5


# Modules beside a space file

USING = """
from mpsearch import Data, Space, Split, Task, bits
{imports}
def model():
    {later}
    return build()
task = Task(model=model, data=lambda: None)
space = Space(kernel=bits(*WIDTHS))
"""


def folder_of(place, widths, built):
    """A folder with `helper.py` (widths), `parts/net.py` (imports the helper) and a space file that uses both."""
    (place / "parts").mkdir(parents=True)
    (place / "helper.py").write_text(f"WIDTHS = {widths}\nNAME = {built!r}\n")
    (place / "parts" / "net.py").write_text("def build():\n    import helper\n    return helper.NAME\n")
    return place


IMPORTS = {
    "at once": ("from helper import WIDTHS\nfrom parts.net import build", "pass"),
    "later": ("import helper\nWIDTHS = helper.WIDTHS", "from parts.net import build"),
    "dotted": ("import helper as h, parts.net\nWIDTHS, build = h.WIDTHS, parts.net.build", "pass"),
    "relative": ("from .helper import WIDTHS", "from .parts import net; build = net.build"),
}


@pytest.mark.parametrize("how", IMPORTS)
def test_two_space_files_import_modules_of_one_name_from_their_folders(tmp_path, monkeypatch, how):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    imports, later = IMPORTS[how]
    text = USING.format(imports=imports, later=later)
    before = set(sys.path), {name for name in sys.modules if not name.startswith("mpsearch")}
    files = [
        load_space_file(written(folder_of(tmp_path / place, widths, place), text))
        for place, widths in (("a", (2, 4)), ("b", (8, 16)))
    ]
    assert [file.space.kernel.widths for file in files] == [(2, 4), (8, 16)]
    assert [file.task.model() for file in (*files, files[0])] == ["a", "b", "a"]
    assert (set(sys.path), {name for name in sys.modules if not name.startswith("mpsearch")}) == before
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_space_file_executed_again_imports_its_modules_anew_and_its_hash_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    text = USING.format(imports=IMPORTS["at once"][0], later="pass")
    path = written(folder_of(tmp_path, (2, 4), "old"), text)
    old, same = load_space_file(path), load_space_file(path)
    (tmp_path / "helper.py").write_text("WIDTHS = (2, 4)\nNAME = 'new'\n")
    new = load_space_file(path)
    assert (old.task.model(), new.task.model()) == ("old", "new")
    assert set(new.modules) == {"helper.py", str(Path("parts") / "net.py")}
    assert old.hash == same.hash != new.hash


def test_a_space_file_knows_where_it_is_from_whatever_folder_its_functions_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "a", (2, 4), "a")
    text = USING.format(imports=IMPORTS["later"][0], later=IMPORTS["later"][1] + "; return build(), __file__")
    (tmp_path / "a" / "mine.py").write_text(text)
    file = load_space_file(Path("a") / "mine.py")
    monkeypatch.chdir(tmp_path / "a")
    assert file.task.model() == ("a", str((tmp_path / "a" / "mine.py").resolve()))


def test_the_hash_of_a_file_alone_is_that_of_its_text(tmp_path):
    file = load_space_file(written(tmp_path, GOOD))
    assert file.hash == hashlib.sha256(GOOD.encode()).hexdigest()[:16]


def test_the_standard_library_and_mpsearch_come_before_modules_beside(tmp_path):
    (tmp_path / "mpsearch").mkdir()
    for path in (tmp_path / "json.py", tmp_path / "mpsearch" / "__init__.py"):
        path.write_text("raise RuntimeError('shadowed')\n")
    assert load_space_file(written(tmp_path, GOOD + "import json\njson.dumps(1)\n")).modules == {}


def test_a_folder_of_scripts_does_not_hide_an_installed_package(tmp_path):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "notes.py").write_text("")
    assert load_space_file(written(tmp_path, GOOD + "import numpy\nnumpy.zeros(1)\n")).modules == {}


def test_functions_and_classes_of_a_space_file_survive_pickling(tmp_path):
    (tmp_path / "helper.py").write_text("class Rate:\n    pass\n")
    text = GOOD.replace("task = ", "from helper import Rate\ndef build():\n    return Rate\ntask = ")
    file = load_space_file(written(tmp_path, text.replace("model=lambda: None", "model=build")))
    assert pickle.loads(pickle.dumps(file.task.model)) is file.task.model
    assert isinstance(pickle.loads(pickle.dumps(file.task.model()())), file.task.model())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import halper", "line 5: ModuleNotFoundError: No module named 'halper'"),
        ("import helper", "line 5: ZeroDivisionError"),
    ],
)
def test_an_import_that_fails_names_the_line_and_leaves_nothing_behind(tmp_path, line, message):
    (tmp_path / "helper.py").write_text("1/0\n")
    before = set(sys.modules)
    with pytest.raises(SpaceError, match=message):
        load_space_file(written(tmp_path, f"{GOOD}{line}\n"))
    assert not [name for name in set(sys.modules) - before if name.startswith("mpsearch_space_")]


def test_a_folder_and_a_file_of_another_kind_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataMissingError, match="`folder` is a folder, but a space file is one Python file"):
        find_space_file("folder")
    (tmp_path / "w.py").write_bytes(b"\xff\xfe")
    with pytest.raises(SpaceError, match="isn't a text file in UTF-8"):
        load_space_file(tmp_path / "w.py")
