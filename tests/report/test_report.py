"""Reports of a real study: its data, checked against the study, and the page in a browser."""

import itertools
import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
from typer.main import get_command

from mpsearch.analysis.analysing import BOTH
from mpsearch.cli.app import app
from mpsearch.config import Config
from mpsearch.costs.bits import ReferenceBits
from mpsearch.costs.profile import load_profile
from mpsearch.costs.registry import make_cost
from mpsearch.creation import provenance_of
from mpsearch.errors import ConfigError, StudyError
from mpsearch.export.exporting import Options, export
from mpsearch.export.folders import remember_export
from mpsearch.export.formats import FORMATS
from mpsearch.finetuning import finetune, kept_weights
from mpsearch.pages import html_table, write_page
from mpsearch.probing import prepare
from mpsearch.ranking import ranked
from mpsearch.report.confusion import confusion_data
from mpsearch.report.coordinates import coordinates_data
from mpsearch.report.document import document, figures_of
from mpsearch.report.evaluating import classes, confusion_of, evaluate
from mpsearch.report.front import front_data
from mpsearch.report.gathering import FORMAT, Report, gather
from mpsearch.report.harms import importance_data, sensitivity_data
from mpsearch.report.history import history_data
from mpsearch.report.noise import noise_data
from mpsearch.report.pictures import TITLES, write_pictures
from mpsearch.report.shares import bits_data, energy_data
from mpsearch.report.summary import summary
from mpsearch.report.tuning import tuning_data
from mpsearch.report.widths import widths_data
from mpsearch.report.words import answer_rows, answer_sentence, commands, config_lines
from mpsearch.runners.inprocess import run
from mpsearch.searching.engine import Engine
from mpsearch.study import create_study
from tests.browser import look
from tests.test_probing import Silent


@pytest.fixture(scope="module")
def engine(tiny_file):
    """An engine of the tiny task whose sites can have both scale modes."""
    return Engine(tiny_file, extra_alphas=BOTH)


@pytest.fixture(scope="module")
def studied(engine, tmp_path_factory):
    """A study of five trials, the best of them fine-tuned, evaluated and exported; the study and its report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reports"))
        file, data, space = engine.file, engine.data, engine.network.space
        study = create_study("tiny", provenance_of(file, data, space, 0, "auto", "none"), None)
        prepare(study, engine, lambda *_: None)
        study.enqueue(space, space.uniform(8), "uniform 8")
        run(study, engine, 5, Silent())
        best = study.record(ranked(study)[0].record.number)
        finetune(study, engine, best)
        config, state, weights = kept_weights(study, best)
        engine.network.set_config(config)
        engine.network.load_state(state)
        about = {"study": "tiny", "trial": best.number, "weights": weights}
        folder = study.folder.parent / "out"
        export(engine, config, folder, [FORMATS["onnx"]], about, Options(accept=0.9))
        remember_export(study.folder, folder)
        evaluate(study, best, lambda: engine)
        yield study, gather(study, file, space.facts)


def test_the_answer_is_the_best_of_the_ranking_beside_float_and_flat_8(studied, engine):
    study, report = studied
    facts, space = engine.network.facts, engine.network.space
    best = ranked(study)[0].record
    rows = {row["name"]: row for row in report.rows}
    assert report.best == best.number
    assert list(rows) == ["float", "flat 8", "best", "best, fine-tuned"]
    for cost in ("bits", "flash", "ram"):
        price = make_cost(cost, facts)
        assert rows["best"]["costs"][cost] == price(best.config)
        assert rows["flat 8"]["costs"][cost] == price(space.uniform(8))
        assert rows["float"]["costs"][cost] == price(Config({}))
    sites = {site.name: site.elements for site in facts.sites}
    assert rows["float"]["costs"]["bits"] == 32 * sum(sites.values()) + ends_of(facts)
    assert rows["flat 8"]["validation"] == study.record(0).metric
    assert rows["best, fine-tuned"]["test"] == next(iter(study.kept("finetuned ").values()))["test"]
    said, bits = answer_sentence(report), {name: row["costs"]["bits"] for name, row in rows.items()}
    assert f"Trial {best.number}, fine-tuned," in said
    assert f"{int(bits['best']):,} bits" in said
    assert (
        f"{rows['float']['costs']['bits'] / rows['best']['costs']['bits']:.1f} times less than the float model" in said
    )
    shown = answer_rows(report)
    assert shown[0]["bits, float = 1"] == "1.000"


def ends_of(facts):
    """Bits of the model's inputs and softmax outputs, which no config changes."""
    reference = ReferenceBits()
    return facts.input_elements * reference.input + facts.softmax_elements * reference.output


def test_data_survive_json(studied):
    _, report = studied
    again = Report.from_json(json.loads(json.dumps(report.to_json())))
    assert document(again) == document(report)
    assert summary(again) == summary(report)
    with pytest.raises(ConfigError, match="isn't the data of a report"):
        Report.from_json({"trials": []})
    with pytest.raises(ConfigError, match="use a later mpsearch"):
        Report.from_json({**report.to_json(), "format": FORMAT + 1})
    half = {key: value for key, value in report.to_json().items() if key != "rows"}
    with pytest.raises(ConfigError, match="isn't whole"):
        Report.from_json(half)


def test_the_front_has_flat_configs_limits_and_no_member_that_another_surpasses(studied):
    _, report = studied
    data = front_data(replace(report, limits={"bits": 5.0}, floor=0.5))
    assert [point["trial"] for point in data["points"] if point["flat"]] == [0]
    assert (data["limit"], data["floor"], data["unit"]) == (5.0, 0.5, "bits")
    values = [(p["cost"], -p["metric"]) for p in data["points"]]
    for point, (cost, metric) in zip(data["points"], values, strict=True):
        surpassed = any(c <= cost and m <= metric and (c, m) != (cost, metric) for c, m in values)
        assert point["member"] is not surpassed
    assert data["steps"] == sorted(data["steps"])


def test_strips_have_the_widths_of_the_config(studied):
    _, report = studied
    data = widths_data(report)
    config = report.trial(report.best)["config"]
    assert data["layers"] == ["input", "conv", "dw", "logits"]
    first = {strip["role"]: dict(zip(data["layers"], strip["bits"], strict=True)) for strip in data["strips"][:3]}
    assert first["kernel"]["input"] is None
    for site, spec in config.items():
        layer, _, role = site.partition("/")
        assert first[role][layer] == spec["bits"]
    assert {strip["trial"] for strip in data["strips"]} == {report.best, *report.others}


def test_shares_add_up_to_the_costs(studied, engine):
    study, report = studied
    rows = bits_data(report)
    bits = make_cost("bits", engine.network.facts)(study.record(report.best).config)
    assert sum(row["bits"] for row in rows) == bits - ends_of(engine.network.facts)
    energy = make_cost("energy", engine.network.facts)
    assert sum(row["energy"] for row in energy_data(report)) == pytest.approx(energy(study.record(report.best).config))
    assert sum(row["flat"] for row in energy_data(report)) == pytest.approx(energy(engine.network.space.uniform(8)))


def test_the_history_counts_epochs_and_hours_and_knows_pruned_and_failed_trials(studied):
    study, report = studied
    trials = [dict(trial) for trial in report.trials]
    trials[3] |= {"state": "pruned", "score": None, "metric": None, "epochs": 1, "curve": trials[3]["curve"][:1]}
    trials[4] |= {"state": "failed", "score": None, "metric": None, "epochs": 0, "curve": [], "cause": "no memory"}
    rows = history_data(replace(report, trials=trials))
    assert [row["epochs"] for row in rows] == [2, 4, 6, 7, 7]
    assert rows[3]["value"] == pytest.approx(trials[3]["curve"][0]["val_accuracy"] * (1 + trials[3]["delta"]))
    assert (rows[4]["value"], rows[4]["cause"]) == (None, "no memory")
    whole = history_data(report)
    assert [row["best"] for row in whole] == list(np.maximum.accumulate([r.score for r in study.records()]))
    assert all(a["hours"] <= b["hours"] for a, b in itertools.pairwise(whole))
    assert whole[0]["flat"] == "flat 8"
    assert history_data(replace(report, objective="pareto"))[0]["value"] == study.record(0).metric
    drawn = figures_of(replace(report, trials=trials))["history-epochs"].drawn
    assert {"pruned, its best epoch", "failed"} <= {trace.name for trace in drawn.data}


def test_coordinates_show_tensors_in_which_trials_differ(studied):
    _, report = studied
    for found in (report, replace(report, importance=[])):
        data = coordinates_data(found)
        assert data["trials"] == [0, 1, 2, 3, 4]
        assert 0 < len(data["sites"]) <= 8
        for site, widths in data["sites"].items():
            assert widths == [trial["config"][site]["bits"] for trial in report.trials]
            assert len(set(widths)) > 1


def test_harms_are_those_of_the_study_with_the_chosen_widths(studied):
    _, report = studied
    rows = importance_data(report)
    assert [row["loss"] for row in rows] == sorted((row["loss"] for row in rows), reverse=True)
    data = sensitivity_data(report)
    assert data["tensors"][0] == "input/activation"
    config = report.trial(report.best)["config"]
    for tensor, spec in zip(data["tensors"], data["chosen"], strict=True):
        assert spec == f"{config[tensor]['bits']} {config[tensor]['alpha']}"
    frames = figures_of(report)["sensitivity"].drawn.layout.shapes
    assert len(frames) == len(data["tensors"])


def test_the_confusion_matrix_is_that_of_the_decisions(studied, engine):
    study, report = studied
    config, state, _ = kept_weights(study, study.record(report.best))
    engine.network.set_config(config)
    engine.network.load_state(state)
    test = engine.data.test
    scores = np.asarray(engine.network.model(engine.data.inputs(test.x), training=False))
    expected = np.zeros((10, 10), int)
    for true, taken in zip(test.y, scores.argmax(axis=1), strict=True):
        expected[true, taken] += 1
    data = confusion_data(report)
    assert data["counts"] == expected.tolist() == confusion_of(engine)[1]
    assert data["split"] == "test"
    tuned = next(iter(study.kept("finetuned ").values()))
    assert data["right"] == pytest.approx(tuned["test"])
    assert {row["site"] for row in noise_data(report)} <= set(config)
    assert confusion_data(replace(report, evaluated=None)) is None


def test_classes_of_scores_and_targets():
    one_hot = np.eye(3)[[2, 0]]
    assert [part.tolist() for part in classes(one_hot, one_hot)[:2]] == [[2, 0], [2, 0]]
    true, taken, number = classes(np.array([[0.9], [0.2]]), np.array([[1], [1]]))
    assert (true.tolist(), taken.tolist(), number) == ([1, 1], [1, 0], 2)
    assert classes(np.zeros((2, 3)), np.array([0.5, 1.0])) is None, "no classes"
    assert classes(np.zeros((2, 3)), np.array([1, 7])) is None
    assert classes(np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8))) is None
    assert classes(np.zeros((2, 101)), np.array([1, 7])) is None


def test_curves_of_fine_tunings(studied):
    study, report = studied
    (row,) = tuning_data(report)
    tuned = next(iter(study.kept("finetuned ").values()))
    assert len(row["validation"]) == tuned["epochs"]
    assert row["kept"] == tuned["best_epoch"] + 1
    assert [row["before"], *row["validation"]][row["kept"]] == pytest.approx(tuned["validation"])


def test_the_summary_has_the_answer_the_front_the_config_and_the_files(studied):
    _, report = studied
    text = summary(report)
    assert answer_sentence(report) in text
    assert "model.onnx" in text
    assert text.count("<details>") == text.count("</details>") == 2
    assert commands(report)[0].startswith("mpsearch study create --space")
    assert "--uniform 8" in commands(report)[0]


def test_the_commands_that_do_it_again_are_commands(studied):
    study, report = studied
    goal = replace(study.goal, limits={"flash": 2_097_152.0}, floor=0.5, profile=load_profile("stm32l4r9"))
    was = {**report.provenance, "sampler_options": {"n_startup_trials": 5}, "goal": goal.to_json()}
    lines = commands(replace(report, name="my study", provenance=was))
    assert lines[0].endswith("--limit flash=2097152 --limit accuracy=0.5 --profile stm32l4r9")
    assert "--name 'my study'" in lines[0]
    for line in lines:
        command, words = get_command(app), shlex.split(line)[1:]
        while getattr(command, "commands", None):
            command, words = command.commands[words[0]], words[1:]
        command.make_context("", words)
    own = {**goal.to_json(), "profile": {**goal.to_json()["profile"], "name": "mine"}}
    assert "--profile FILE.toml" in commands(replace(report, provenance={**was, "goal": own}))[0]


def test_other_trials_costs_and_mistakes(studied, engine):
    study, _ = studied
    facts = engine.network.facts
    other = gather(study, engine.file, facts, trial=1, axis="flash", others=2)
    assert (other.best, other.axis, len(other.others)) == (1, "flash", 2)
    assert 1 not in other.others
    assert "of flash" in answer_sentence(other)
    assert (other.evaluated is None) == (ranked(study)[0].record.number != 1)
    with pytest.raises(StudyError, match="no trial 99"):
        gather(study, engine.file, facts, trial=99)
    with pytest.raises(ConfigError, match="weight"):
        gather(study, engine.file, facts, axis="weight")


def test_a_study_without_anything_but_trials_has_a_page(engine, tiny_study):
    study = tiny_study()
    study.enqueue(engine.network.space, engine.network.space.uniform(4), "uniform 4")
    run(study, engine, 1, Silent())
    text = document(gather(study, engine.file, engine.network.facts))
    for command in ("mpsearch sensitivity tiny", "mpsearch finetune tiny", "--evaluate", "mpsearch export tiny"):
        assert command in text


def test_hovers_end_after_some_layers():
    config = {f"conv_{n}/kernel": {"bits": 4, "alpha": "auto"} for n in range(30)}
    lines = config_lines(config).split("<br>")
    assert lines[0] == "conv_0 4 / · / ·"
    assert lines[-1] == "… and 10 layers more"


def test_tables_put_numbers_to_the_right_and_are_escaped():
    text = html_table([{"a": "<b>", "n": 1_000}, {"a": "c", "n": None}], [1])
    assert "&lt;b&gt;" in text
    assert '<td class="number">1,000</td>' in text
    assert "<tr class=first><td>c</td>" in text


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    write_page("text", tmp_path / "new" / "page.html")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["page.html"]
    with pytest.raises(ConfigError, match=r"\.html"):
        write_page("text", tmp_path / "page.pdf")
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="can't write"):
        write_page("text", tmp_path / "taken" / "page.html")


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 390)], ids=["light and wide", "dark and narrow"])
def test_the_page_in_a_browser(studied, tmp_path, dark, width):
    _, report = studied
    file = tmp_path / "report.html"
    write_page(document(report), file)
    drawn = figures_of(report)
    seen = look(
        file.as_uri(),
        [
            "document.querySelectorAll('.plotly-graph-div .main-svg').length > 0"
            " && [...document.querySelectorAll('.plotly-graph-div')].every(f => f.querySelector('.main-svg'))",
            "document.querySelectorAll('.plotly-graph-div').length",
            "document.documentElement.scrollWidth <= window.innerWidth",
            "getComputedStyle(document.body).backgroundColor",
            "document.querySelector('.plotly-graph-div .xtick text').style.fill",
            "document.querySelector('h1').textContent",
        ],
        dark=dark,
        width=width,
    )
    assert [url for url in seen.requests if not url.startswith("data:")] == [file.as_uri()]
    assert seen.complaints == []
    everything, count, fits, ground, ink, title = seen.values
    assert everything
    assert count == len(drawn) == len(TITLES)
    assert fits, "the page itself never scrolls sideways"
    assert ground == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")
    assert ink == ("rgb(230, 237, 243)" if dark else "rgb(31, 35, 40)")
    assert title.startswith("tiny")


def test_pictures(studied, tmp_path):
    _, report = studied
    with pytest.raises(ConfigError, match="svg or png"):
        write_pictures(report, tmp_path, ["jpg"])
    look("about:blank", [])  # skips where there is no browser
    files = write_pictures(report, tmp_path / "pictures")
    assert {file.stem for file in files} == set(TITLES)
    for file in files:
        assert re.match(r"<svg|<\?xml", file.read_text()[:20])
    assert "accuracy" in (tmp_path / "pictures" / "front.svg").read_text()
