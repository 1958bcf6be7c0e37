"""Commands that keep studies, typed as a user would; the engine is the session's."""

import io
import json
import re
import shutil
from pathlib import Path

import pytest

from mpsearch.cli.dashboard import attach_report
from mpsearch.study import open_study

TINY = Path(__file__).resolve().parents[1] / "tiny.py"


@pytest.fixture
def work(tiny_engine, tmp_path, monkeypatch):
    """A folder with a space file; engines are the session's one."""
    shutil.copy(TINY, tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mpsearch.creation.Engine", lambda *_: tiny_engine)
    return tmp_path


@pytest.fixture
def mine(mpsearch, work):
    """A study of two trials."""
    words = ("--sampler", "tpe", "--sampler-option", "n_startup_trials=5", "--uniform", "8")
    assert mpsearch("study", "create", "--space", "mine.py", *words)[0] == 0
    assert mpsearch("study", "run", "mine", "--trials", "2")[0] == 0
    return work


def test_samplers_and_pruners_take_options_checked_before_anything_is_loaded(mpsearch, work, monkeypatch):
    words = ("study", "create", "--space", "mine.py")
    more = (
        "--pruner",
        "percentile",
        "--pruner-option",
        "percentile=30.0",
        "--sampler",
        "tpe",
        "--sampler-option",
        "group=true",
    )
    assert mpsearch(*words, *more)[0] == 0
    was = open_study("mine").provenance
    assert (was.sampler_options, was.pruner_options) == ({"group": True}, {"percentile": 30.0})
    code, out, _ = mpsearch("study", "show", "mine")
    assert "tpe group=True, percentile percentile=30.0, 0" in out
    monkeypatch.setattr("mpsearch.cli.study.import_tensorflow", None)
    for wrong, message in {
        ("--sampler", "anneal"): "a sampler must be one of auto, tpe, gp",
        (
            "--sampler",
            "tpe",
            "--sampler-option",
            "n_startup_trails=3",
        ): "the sampler tpe takes n_startup_trials (an integer)",
        ("--sampler-option", "n_startup_trials"): "must be NAME=VALUE",
        ("--pruner", "median", "--pruner-option", "n_min_trials=x"): "must be an integer, but got 'x'",
    }.items():
        code, _, err = mpsearch(*words, *wrong, "--name", "other")
        assert (code, message in err) == (1, True), err


def test_a_run_ends_by_time_score_or_patience(mpsearch, mine):
    best = open_study("mine").best()[0].score
    code, out, _ = mpsearch("study", "run", "mine", "--until-score", f"{best - 0.01}")
    assert (code, "is at its end: trial" in out, "was asked for" in out) == (0, True, True)
    code, out, _ = mpsearch("study", "run", "mine", "--timeout", "0.01s")
    assert code == 0
    assert re.search("ended after [23] trials: the time of 0.01s is over", out)  # a trial may begin just before
    code, out, _ = mpsearch("study", "run", "mine", "--patience", "1", "--trials", "9")
    assert code == 0
    assert "trials without a better score" in out
    assert open_study("mine").finished < 9
    code, _, err = mpsearch("study", "run", "mine", "--timeout", "soon")
    assert (code, "a duration is written as 2h" in err) == (1, True)


def test_a_trial_is_shown_with_its_config_and_curve(mpsearch, mine):
    assert mpsearch("study", "note", "mine", "wide", "--trial", "0")[0] == 0
    code, out, _ = mpsearch("study", "show", "mine", "--trial", "0")
    assert code == 0
    assert "note: wide" in out
    assert "8 auto" in out
    curve = next(line for line in out.splitlines() if "val_accuracy" in line)
    assert set(curve.split()[1]) <= set("▁▂▃▄▅▆▇█")
    shown = json.loads(mpsearch("study", "show", "mine", "--trial", "0", "--json")[1])
    assert shown["config"] == open_study("mine").record(0).config.to_json()
    assert shown["note"] == "wide"
    assert "no trial 7" in mpsearch("study", "show", "mine", "--trial", "7")[2]
    assert "trial 0: wide" in mpsearch("study", "show", "mine")[1]


def test_two_trials_are_compared(mpsearch, mine):
    code, out, _ = mpsearch("study", "diff", "mine", "0", "1")
    assert code == 0
    one, other = (open_study("mine").record(number) for number in (0, 1))
    changed = [site for site in one.config if one.config[site] != other.config[site]]
    assert changed
    for site in one.config:
        assert (f" {site} " in out) == (site in changed)
    alike = len(one.config) - len(changed)
    assert f"{alike} of {len(one.config)} tensors have the same quantizer" in out
    assert f"{other.metric - one.metric:+.4f}" in out
    found = json.loads(mpsearch("study", "diff", "mine", "0", "1", "--json")[1])
    assert list(found["tensors"]) == changed
    assert found["numbers"]["total bits"] == [one.costs["total_bits"], other.costs["total_bits"]]
    assert "doesn't differ from itself" in mpsearch("study", "diff", "mine", "0", "0")[2]
    assert "no trial 7" in mpsearch("study", "diff", "mine", "0", "7")[2]


def test_studies_are_compared(mpsearch, mine):
    assert mpsearch("study", "copy", "mine", "twin")[0] == 0
    assert mpsearch("study", "create", "--space", "mine.py", "--name", "empty", "--sampler", "random")[0] == 0
    code, out, err = mpsearch("compare", "mine", "twin", "empty", "--figure", "fronts.html")
    assert code == 0, err
    assert "studies compared; the front is of accuracy and total_bits" in out
    best = open_study("mine").best(1)[0]
    assert f"{best.metric:.4f}" in out
    tensors = len(best.config)
    assert f"{tensors} tensors of the best trials differ" in out  # the empty study has none
    page = (mine / "fronts.html").read_text()
    assert "twin: front" in page
    code, out, _ = mpsearch("compare", "mine", "twin", "--json")
    found = json.loads(out)
    assert found["tensors"] == {}
    records = [r for r in open_study("mine").records() if r.metric is not None and r.state == "complete"]
    points = [(r.costs["total_bits"], r.metric, r.number) for r in records]
    front = [p for p in points if not any(q[0] <= p[0] and q[1] >= p[1] and q[:2] != p[:2] for q in points)]
    assert [tuple(point) for point in found["studies"][0]["front"]] == sorted(front)
    assert "each once" in mpsearch("compare", "mine", "mine")[2]
    assert "two studies or more" in mpsearch("compare", "mine")[2]
    assert "have no cost energy" in mpsearch("compare", "mine", "twin", "--cost", "energy")[2]
    assert "an .html file" in mpsearch("compare", "mine", "twin", "--figure", "fronts.png")[2]


def test_configs_are_queued_from_files_studies_and_widths(mpsearch, mine):
    config = mpsearch("study", "show", "mine", "--trial", "1", "--json")[1]
    (mine / "idea.json").write_text(config)
    assert mpsearch("study", "create", "--space", "mine.py", "--name", "next")[0] == 0
    words = ("--config", "idea.json", "--from", "mine", "--trial", "0", "--uniform", "4")
    code, out, _ = mpsearch("study", "enqueue", "next", *words)
    assert code == 0
    assert out.splitlines()[-1] == "next: mpsearch study run next --trials 3"
    assert mpsearch("study", "run", "next", "--trials", "3", "--quiet")[0] == 0
    records, first = open_study("next").records(), open_study("mine")
    assert [r.origin for r in records] == ["uniform 4", "idea.json", "mine trial 0"]
    assert [r.fingerprint for r in records[1:]] == [first.record(1).fingerprint, first.record(0).fingerprint]
    out = mpsearch("study", "enqueue", "next", "--uniform", "4")[1]
    assert "trained it already" in out
    assert out.splitlines()[-1] == "next: mpsearch study run next --trials 4"
    out = mpsearch("study", "enqueue", "next", "--uniform", "8", "--uniform", "4")[1]
    assert out.splitlines()[-1] == "next: mpsearch study run next --trials 6"
    for wrong, message in {
        (): "name what to try",
        ("--trial", "1", "--uniform", "4"): "--trial goes with --from",
        ("--uniform", "5"): "no menu of the space has 5 bits",
        ("--config", "none.json"): "can't read none.json",
    }.items():
        code, _, err = mpsearch("study", "enqueue", "next", *wrong)
        assert (code, message in err) == (1, True), err


def test_the_best_are_repeated_and_ranked_by_their_means(mpsearch, mine):
    assert "was trained once" in mpsearch("study", "best", "mine")[1]
    code, out, _ = mpsearch("study", "repeat", "mine", "--top", "1", "--repeats", "1")
    assert code == 0
    assert "[1/1] trial" in out
    assert " left" not in out  # with the last one there is nothing left
    assert "repeat 1: score" in out
    assert " ± " in out
    best = json.loads(mpsearch("study", "best", "mine", "--top", "2", "--json")[1])
    repeated = next(candidate for candidate in best if len(candidate["scores"]) == 2)
    assert repeated["mean"] == pytest.approx(sum(repeated["scores"]) / 2)
    assert best == sorted(best, key=lambda candidate: -candidate["mean"])


def test_studies_are_tagged_noted_renamed_copied_exported_imported_and_deleted(mpsearch, mine):
    assert mpsearch("study", "tag", "mine", "paper", "cifar")[1] == "cifar, paper\n"
    assert mpsearch("study", "tag", "mine", "cifar", "--remove")[1] == "paper\n"
    assert mpsearch("study", "note", "mine", "a first try [auto]")[0] == 0
    assert mpsearch("study", "note", "mine")[1] == "a first try [auto]\n"
    assert "a first try [auto]" in mpsearch("study", "show", "mine")[1]
    assert mpsearch("study", "rename", "mine", "first")[0] == 0
    assert mpsearch("study", "copy", "first", "second")[0] == 0
    assert mpsearch("study", "tag", "second", "paper", "--remove")[0] == 0
    listed = json.loads(mpsearch("study", "list", "--tag", "paper", "--json")[1])
    assert [(row["study"], row["trials"], row["note"]) for row in listed] == [("first", 2, "a first try [auto]")]
    code, _, err = mpsearch("study", "export", "first", "--format", "json", "--out", "out/first.json")
    assert (code, "2 trials of first" in err) == (0, True)
    code, out, _ = mpsearch("study", "export", "first", "--format", "csv")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "must be json or csv" in mpsearch("study", "export", "first", "--format", "xml")[2]
    assert mpsearch("study", "delete", "first", "--yes")[0] == 0
    assert mpsearch("study", "import", "out/first.json")[0] == 0
    assert mpsearch("study", "import", "out/first.json", "--name", "third")[0] == 0
    assert {row["study"] for row in json.loads(mpsearch("study", "list", "--json")[1])} == {"first", "second", "third"}
    assert mpsearch("study", "run", "third", "--trials", "3", "--quiet")[0] == 0
    assert open_study("third").finished == 3


def test_a_study_is_not_deleted_without_a_yes(mpsearch, mine, monkeypatch):
    for answer in ("n\n", ""):  # no; nobody there to answer
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        code, _, err = mpsearch("study", "delete", "mine")
        assert (code, "nothing was deleted; to delete mine without a question give --yes" in err) == (1, True)
    assert open_study("mine").finished == 2


def test_a_file_that_can_not_be_written_is_said(mpsearch, mine):
    for out in (".", "mine.py/out.json"):
        code, _, err = mpsearch("study", "export", "mine", "--format", "json", "--out", out)
        assert (code, f"error: can't write {out}: " in err, "--out" in err) == (1, True, True)


def test_a_search_for_a_tag_says_which(mpsearch, mine):
    assert mpsearch("study", "list", "--tag", "paper")[1] == "studies with the tag paper: none\n"


def test_what_takes_long_is_announced_beside_the_results(mpsearch, mine):
    words = ("study", "create", "--space", "mine.py", "--name")
    _, out, err = mpsearch(*words, "second")
    assert (err, "loading" in out) == ("loading the model and data …\n", False)
    _, out, err = mpsearch(*words, "third", "--json")
    assert (json.loads(out)["name"], err) == ("third", "")
    _, out, err = mpsearch("study", "enqueue", "second", "--uniform", "4")
    assert err == "loading the model and data …\n"
    assert mpsearch("space", "check", "mine.py")[2] == "loading the model and data …\n"


def test_one_trial_is_counted_as_one(mpsearch, work):
    assert mpsearch("study", "create", "--space", "mine.py")[0] == 0
    assert mpsearch("study", "run", "mine", "--trials", "1")[0] == 0
    assert "mine has 1 trial already" in mpsearch("study", "run", "mine", "--trials", "1")[1]
    assert "second has the 1 trial of mine" in mpsearch("study", "copy", "mine", "second")[1]


def test_one_trials_config_is_repeated(mpsearch, mine):
    code, _, err = mpsearch("study", "repeat", "mine", "--trial", "7")
    assert (code, "no trial 7" in err, "loading" in err) == (1, True, False)
    code, out, _ = mpsearch("study", "repeat", "mine", "--trial", "0", "--repeats", "1", "--json")
    assert (code, [(c["number"], len(c["scores"])) for c in json.loads(out)]) == (0, [(0, 2)])


def test_the_dashboard_has_the_report(mpsearch, mine, capsys):
    attach_report("mine", None)
    assert "<h1>mine: " in (open_study("mine").folder / "report.html").read_text()
    assert mpsearch("study", "create", "--space", "mine.py", "--name", "empty", "--sampler", "random")[0] == 0
    attach_report("empty", None)
    assert "no new report is attached: `empty` has no complete trial yet" in capsys.readouterr().err


def test_a_study_is_reported(mpsearch, mine, tmp_path):
    code, out, err = mpsearch("report", "mine", "--summary", "mine.md")
    assert (code, "written: mine.md" in err) == (0, True), err
    assert "has accuracy" in out.splitlines()[0]
    assert "written: mine.html" in out
    assert "<h1>mine: " in Path("mine.html").read_text()
    assert out.splitlines()[0] in Path("mine.md").read_text()
    code, data, err = mpsearch("report", "mine", "--json", "--cost", "flash", "--trial", "0")
    assert (code, err) == (0, "")
    Path("data.json").write_text(data)
    assert (json.loads(data)["axis"], json.loads(data)["best"]) == ("flash", 0)
    code, out, _ = mpsearch("report", "data.json", "--out", "deep/page.html")
    assert (code, "of flash" in out) == (0, True)
    assert Path("deep/page.html").stat().st_size > 1_000_000, "Plotly is in it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing.json",), "can't read nothing.json"),
        (("bad.json",), "bad.json isn't JSON"),
        (("other.json",), "isn't the data of a report"),
        (("other.json", "--evaluate"), "gathered already"),
        (("mine", "--out", "page.pdf"), ".html"),
        (("mine", "--trial", "99"), "no trial 99"),
        (("mine", "--cost", "weight"), "weight"),
        (("mine", "--pictures", "p", "--picture-format", "gif"), "svg or png"),
    ],
)
def test_reports_that_cannot_be(mpsearch, mine, words, said):
    Path("bad.json").write_text("{")
    Path("other.json").write_text("[]")
    code, _, err = mpsearch("report", *words)
    assert code == 1
    assert said in err.splitlines()[-1]
