"""Results pages are made of what commands print."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

STUDIES = Path(__file__).resolve().parents[1] / "studies"


def script(name):
    spec = importlib.util.spec_from_file_location(name, STUDIES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make_results():
    return script("make_results")


def test_the_page_on_the_search_is_that_of_the_committed_figures():
    assert script("make_search").page(STUDIES / "search") == (STUDIES / "search" / "RESULTS.md").read_text()


def test_the_page_on_exports_is_that_of_the_committed_rows():
    assert script("make_export").page(STUDIES / "export") == (STUDIES / "export" / "RESULTS.md").read_text()


@pytest.mark.parametrize(
    "folder",
    sorted(
        path.parent
        for path in STUDIES.glob("*/about.md")
        if (path.parent / "records.json").exists() and path.parent.name != "export"
    ),
    ids=lambda folder: folder.name,
)
def test_the_committed_pages_are_those_of_the_committed_records(make_results, folder):
    study = json.loads((folder / "records.json").read_text())
    front = folder / "front.json"
    found = json.loads(front.read_text()) if front.exists() else None
    page = make_results.results(study, (folder / "about.md").read_text(), found)
    assert page == (folder / "RESULTS.md").read_text()


def test_rows_that_failed_are_shown_as_gaps(make_results):
    whole = {
        "name": "QAT int8", "validation": 0.9, "test": 0.8, "further": {"AUC": 0.7}, "parameter_bits": 8192,
        "activation_bits": 8192, "delta": 0.1, "score": 0.99, "epochs": 3, "seconds": 6.0, "note": "",
    }  # fmt: skip
    failed = {
        **whole,
        "name": "PTQ MSE",
        "validation": None,
        "test": None,
        "score": None,
        "further": {},
        "note": "broke",
    }
    text, said = make_results.baselines([failed, whole], "accuracy")
    assert "| PTQ MSE | – | – | – | 1.0 | 1.0 |" in text
    assert "| QAT int8 | 0.9000 | 0.8000 | 0.7000 |" in text
    assert said.startswith("- PTQ MSE: broke.")
    broken = {**whole, "validation": None, "test": None, "score": None, "epochs": 0}
    assert "an epoch" not in make_results.baselines([failed, broken], "accuracy")[1]


def test_the_reports_are_those_of_the_committed_data(tmp_path):
    found = sorted(STUDIES.glob("*/report*.json"))
    assert len(found) > 3
    for file in found:
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / file.parent.name)
    assert len(script("make_reports").main(tmp_path)) == len(found)
    for file in found:
        made = tmp_path / file.parent.name / file.name
        assert made.with_suffix(".md").read_text() == file.with_suffix(".md").read_text()
        assert made.with_suffix(".html").stat().st_size > 1_000_000
