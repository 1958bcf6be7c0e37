"""Space files: where they are found, and what is said where they are wrong."""

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
