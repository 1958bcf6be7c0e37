"""README, `docs/` and the notebook do what they say: blocks of Python run, commands parse, links lead somewhere."""

import importlib.util
import io
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FIRST_WORDS = ("make", "source", "mkdir", "cd", "python", "export", "optuna-dashboard", "mpsearch", "srun")
PYTHON_ELSEWHERE = {
    "README.md": "test_readme_has_the_python_of_its_page: docs/reference/from-python.md, which runs",
    "docs/tutorial.md": "test_the_tutorial_as_it_stands runs it with its commands",
    "docs/how-to/export.md": "test_the_exported_files_run_without_mpsearch gives it files",
    "docs/how-to/own-layer.md": "test_the_layer_of_ones_own_is_quantized runs it",
    "docs/how-to/own-cost.md": "test_the_cost_of_ones_own_counts_wide_kernels runs it",
    "docs/coming-from-autoqkeras.md": "test_a_configuration_is_converted_as_the_page_says runs it with its command",
}
COMMANDS_PARSED_ONLY = {
    "README.md": "the tutorial runs these commands on a smaller model; `make demo` has a test of its own",
    "docs/coming-from-autoqkeras.md": "only the conversion runs: its space file has no model",
    "docs/how-to/budget.md": "many trials; tests/cli/test_goals.py runs limits and fronts",
    "docs/how-to/cluster.md": "needs a cluster; tests/runners run processes, Ray and workers",
    "docs/how-to/export.md": "many trials; tests/export write and run the files",
    "docs/reference/models-and-data.md": "downloads; tests/cli/test_data.py runs it against a server of its own",
    "docs/reference/studies.md": "a server that ends by Ctrl-C alone",
    "docs/reference/storages.md": "needs a database server; tests/cli/test_storage.py runs it",
}
PREPARATIONS = ("make", "source", "mkdir", "cd")  # of the tutorial: this process stands in such a folder already
SMALLER = {  # the tutorial's sizes, so that a test has the time
    "(2000, 64, 3) (2000,)": "(400, 64, 3) (400,)",
    '("train", 2000, 1)': '("train", 400, 1)',
    "epochs=10, verbose=2": "epochs=5, verbose=0",
    "Training(epochs=3,": "Training(epochs=1,",
    "--trials 20": "--trials 3",
    '--only "flat *" ': "",
    '--only "QAT*" ': "",
}


def _commands() -> ModuleType:
    spec = importlib.util.spec_from_file_location("documented_commands", DOCS / "_ext" / "commands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMANDS = _commands()


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of a page's blocks."""
    return [(language.strip(), text) for language, text in BLOCK.findall(page.read_text(encoding="utf-8"))]


def python_of(page: str, word: str = "") -> list[str]:
    return [text for language, text in blocks(ROOT / page) if language == "python" and word in text]


def lines_of(text: str) -> list[str]:
    """Commands of a block: without comments, one for each line or part of `&&`."""
    joined = re.sub(r"\\\n\s*", " ", text)
    parts = [shlex.split(part, comments=True) for line in joined.splitlines() for part in line.split(" && ")]
    return [words for words in parts if words]


def parsed(words: list[str]) -> None:
    """Check words of a command line against the real commands: they and their options exist, and nothing is missing."""
    words = words[: words.index(">")] if ">" in words else words
    command, path = COMMANDS.root(), []
    rest = words[1:]
    while rest and getattr(command, "commands", None):
        assert rest[0] in command.commands, f"there is no command {' '.join([*path, rest[0]])}"
        command, path, rest = command.commands[rest[0]], [*path, rest[0]], rest[1:]
    command.make_context(" ".join(path), list(rest))


def call(words: list[str]) -> str:
    """Run a command of mpsearch in this process; what it printed."""
    from mpsearch.cli.app import app

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = app(words[1:], standalone_mode=False)
    assert not code, f"{words} ended with {code}: {err.getvalue()}"
    return out.getvalue() + err.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_block_is_of_a_kind_that_is_checked(page):
    for language, text in blocks(page):
        assert language in ("python", "sh", "text", "toml") or language.startswith("{"), f"{language!r}: {text[:60]}"
    words = [words for language, text in blocks(page) if language == "sh" for words in lines_of(text)]
    assert not {first for first, *_ in words} - set(FIRST_WORDS)
    if any(first == "mpsearch" for first, *_ in words) and name_of(page) != "docs/tutorial.md":
        assert name_of(page) in COMMANDS_PARSED_ONLY or name_of(page) == "docs/coming-from-autoqkeras.md"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_exist(page):
    for language, text in blocks(page):
        for words in lines_of(text) if language == "sh" else ():
            if "mpsearch" in words:
                parsed(words[words.index("mpsearch") :])
    for code in re.findall(r"`mpsearch ([^`]+)`", BLOCK.sub("", page.read_text(encoding="utf-8"))):
        command, words = COMMANDS.root(), code.split()
        while words and words[0] in {option for parameter in command.params for option in parameter.opts}:
            words = words[1:]
        while words and getattr(command, "commands", None) and re.fullmatch(r"[a-z-]+", words[0]):
            assert words[0] in command.commands, f"`mpsearch {code}`"
            command, words = command.commands[words[0]], words[1:]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
        assert {word for word in words if re.fullmatch(r"--[a-z-]+", word)} <= known, f"`mpsearch {code}`"


def test_lists_of_exceptions_name_pages_that_are_there():
    assert {*PYTHON_ELSEWHERE, *COMMANDS_PARSED_ONLY} <= {name_of(page) for page in PAGES}


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_file):
    """An empty folder to work in, with small digits and a tiny model in place of the usual ones."""
    import mpsearch

    digits = tiny_file.task.data()

    def small_cnn():
        return tiny_file.task.model()

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(mpsearch.datasets, "digits", lambda: digits)
    monkeypatch.setattr(mpsearch.models, "small_cnn", small_cnn)
    return tmp_path


@pytest.mark.parametrize(
    "page", [page for page in PAGES if python_of(name_of(page)) and name_of(page) not in PYTHON_ELSEWHERE], ids=name_of
)
def test_python_runs(page, request, capsys):
    if "digits" in "".join(python_of(name_of(page))):
        request.getfixturevalue("folder")
    names: dict = {"__name__": "page"}
    for text in python_of(name_of(page)):
        exec(
            compile(text.replace("trials=20", "trials=2, training=mpsearch.Training(epochs=1)"), name_of(page), "exec"),
            names,
        )
    if name_of(page) == "docs/reference/from-python.md":
        assert "total_bits" in capsys.readouterr().out
        assert Path("exports/digits/model.keras").exists()


def test_readme_has_the_python_of_its_page():
    assert python_of("README.md") == python_of("docs/reference/from-python.md")[:1]
    assert len(python_of("README.md")[0].splitlines()) <= 11


def test_the_space_file_is_the_ready_one():
    assert python_of("docs/reference/space-language.md") == [(ROOT / "spaces" / "resnet8.py").read_text()]


def test_the_tutorial_as_it_stands(folder, monkeypatch):
    """All of it, in its order: files are written, scripts and commands run; only sizes are smaller."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.delenv("MPSEARCH_STORAGE", raising=False)
    done = []
    for language, text in blocks(DOCS / "tutorial.md"):
        for large, small in SMALLER.items():
            text = text.replace(large, small)
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            assert name, f"a block of the tutorial is a file, and begins with its name: {text[:40]}"
            (folder / name[1]).write_text(text)
        for words in lines_of(text) if language == "sh" else ():
            if words[0] == "python":
                runpy.run_path(words[1], run_name="__main__")
            elif words[0] == "mpsearch":
                call(words)
                done.append(words[1])
            else:
                assert words[0] in PREPARATIONS
    sys.modules.pop("model", None)
    assert {"space", "study", "finetune", "baselines", "sensitivity", "analyse", "export", "run", "report"} <= set(done)
    assert (folder / "exports" / "mine" / "model.onnx").stat().st_size > 1_000
    assert (folder / "map.html").exists()
    assert "model.onnx" in (folder / "mine.html").read_text()


def test_a_configuration_is_converted_as_the_page_says(folder):
    page = "docs/coming-from-autoqkeras.md"
    configuration, converted = python_of(page)
    exec(configuration, {})
    first, *_ = [words for language, text in blocks(ROOT / page) if language == "sh" for words in lines_of(text)]
    said = call(first)
    (shown,) = [text for language, text in blocks(ROOT / page) if language == "text"]
    assert said == shown
    exec(converted, {})
    written = (folder / "mine.py").read_text()
    for line in converted.splitlines()[1:]:
        assert line in written


def test_the_layer_of_ones_own_is_quantized(capsys):
    import keras

    from mpsearch import Config, QuantizerSpec, Space, bits
    from mpsearch.network.elastic import ElasticNetwork

    names: dict = {}
    for text in python_of("docs/how-to/own-layer.md"):
        exec(text, names)
    assert "swish/slope" in capsys.readouterr().out
    model = keras.models.clone_model(names["model"])
    model.get_layer("swish").set_weights([np.linspace(0.5, 2.0, 4)])
    samples = np.random.default_rng(0).normal(0, 1, (8, 6, 6, 2)).astype(np.float32)
    network = ElasticNetwork(model, Space(kernel=bits(2, 8), activation=bits(8)), samples)
    assert {"swish/slope", "swish/activation"} <= set(network.space.sites)
    network.set_config(None)
    np.testing.assert_allclose(network.model(samples), model(samples), atol=1e-5)
    high = network.space.uniform(8)
    network.set_config(high)
    expected = np.asarray(network.model(samples))
    network.assign_specs(Config({**high, "swish/slope": QuantizerSpec(2, high["swish/slope"].alpha)}))
    assert np.abs(np.asarray(network.model(samples)) - expected).max() > 1e-3


def test_costs_need_facts_and_a_config_alone(capsys):
    (text,) = python_of("docs/reference/costs.md", "facts_of")
    exec(text, {})
    spent, bits, packed, size = capsys.readouterr().out.split()
    assert (bits, size) == ("bits,", "bytes")
    assert int(spent) / 8 > int(packed) > 77_360, "8-bit kernels of 77,360 values, biases and scales"


def test_the_cost_of_ones_own_counts_wide_kernels(capsys):
    from mpsearch import Config, QuantizerSpec, facts_of, make_cost, models

    names: dict = {}
    for text in python_of("docs/how-to/own-cost.md"):
        exec(text, names)
    facts = facts_of(models.resnet8())
    kernels = sum(site.role == "kernel" for site in facts.sites)
    assert [float(line) for line in capsys.readouterr().out.split()] == [0, kernels]
    cost = make_cost("wide_kernels", facts)
    eight = {site.name: QuantizerSpec(8) for site in facts.sites}
    assert cost(Config(eight)) == 0
    assert cost(Config({**eight, "conv_0/kernel": QuantizerSpec(16), "conv_0/bias": QuantizerSpec(16)})) == 1
    assert cost.unit == "kernels"


def test_the_exported_files_run_without_mpsearch_in_under_ten_lines(tiny_engine, tmp_path, monkeypatch):
    from mpsearch.export.exporting import Options, export
    from mpsearch.export.formats import FORMATS

    config = tiny_engine.network.space.uniform(8)
    tiny_engine.network.set_config(config)
    formats = [FORMATS[name] for name in ("onnx", "litert", "keras")]
    export(tiny_engine, config, tmp_path / "exports" / "digits", formats, {}, Options(accept=0.9))
    monkeypatch.chdir(tmp_path)
    x = tiny_engine.data.inputs(tiny_engine.data.validation.x)
    ours = np.asarray(tiny_engine.network.model(x, training=False))
    texts = python_of("docs/how-to/export.md")
    assert len(texts) == 3
    for text in texts:
        assert len(text.strip().splitlines()) < 10
        names: dict = {"x": x}
        exec(text, names)
        scores = np.asarray(names["scores"] if "scores" in names else names["model"](x))
        np.testing.assert_allclose(scores, ours[: len(scores)], atol=0.05, err_msg=text)


def test_the_profile_that_has_everything_is_one(tmp_path):
    from mpsearch.costs.profile import load_profile

    ((_, text),) = [block for block in blocks(DOCS / "reference" / "costs.md") if block[0] == "toml"]
    (tmp_path / "board.toml").write_text(text)
    assert load_profile(str(tmp_path / "board.toml")).name == "my board"


def test_the_table_of_measured_layers_is_one(tmp_path):
    from mpsearch.costs.measured import read_table

    (text,) = [text for _, text in blocks(DOCS / "reference" / "costs.md") if text.startswith("layer,")]
    (tmp_path / "measured.csv").write_text(text)
    assert len(read_table(tmp_path / "measured.csv")) == 3


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target, anchor in re.findall(r"\]\(([^)\s#]*)(#[^)\s]*)?\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        found = page if not target else (page.parent / target).resolve()
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor[1:] in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], anchor


def test_each_command_is_on_a_page():
    text = "\n".join(page.read_text() for page in (DOCS / "reference" / "commands").glob("*.md"))
    shown = [tuple(words.split()) for words in re.findall(r"^```\{commands\} (.+)$", text, re.MULTILINE)]
    missing = [path for path in COMMANDS.leaves() if not any(path[: len(words)] == words for words in shown)]
    assert not missing
    assert len(shown) == len(set(shown))


def test_each_public_name_is_on_a_page():
    import mpsearch
    from mpsearch import datasets, models

    text = "\n".join(page.read_text() for page in (DOCS / "reference" / "python").glob("*.rst"))
    shown = set(re.findall(r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)$", text, re.MULTILINE))
    functions = [name for module in (models, datasets) for name in module.__all__ if not name.isupper()]
    assert not {*mpsearch.__all__, *functions} - shown


def test_readme_is_two_screens_and_its_make_targets_exist():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 130
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", readme, re.MULTILINE) + re.findall(r"`make (\w+)`", readme):
        assert f"\n{target}:" in makefile


def test_the_pages_build_without_a_warning_and_fetch_nothing(tmp_path):
    options = "-m sphinx --fail-on-warning --keep-going --quiet -b html docs"
    assert f"{options} build/docs" in (ROOT / "Makefile").read_text()
    made = subprocess.run(
        [sys.executable, *options.split(), "-d", str(tmp_path / "trees"), str(tmp_path / "html")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    pages = {path.relative_to(tmp_path / "html").as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    assert "until-score" in pages["reference/commands/studies.html"]
    assert "Forgiving" in pages["reference/python/costs.html"]
    for name, text in pages.items():
        assert not re.findall(r"""(?:src|href)=["']https?://[^"']+\.(?:js|css|woff2?)""", text), name


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells), "the notebook is kept without outputs"
    for cell in cells:  # fewer images and epochs, so that a test has the time
        cell.source = (
            cell.source.replace("digits()", "digits(600, 600)")
            .replace("(epochs=2,", "(epochs=1,")
            .replace("trials=6", "trials=3")
        )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPSEARCH_STORAGE", raising=False)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    (last,) = [output.text for output in cells[-1].outputs if output.output_type == "stream"]
    assert float(last.split(":")[1]) > 0.5
