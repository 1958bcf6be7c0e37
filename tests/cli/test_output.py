"""Tables: readable at any width, cells taken literally."""

from pathlib import Path

import pytest

from mpsearch.cli.output import UNBOUNDED, table_text
from mpsearch.cli.tables import finetuned_rows, print_candidates, remarks, sparkline, trial_rows
from mpsearch.config import Config
from mpsearch.finetuning import FineTuned
from mpsearch.ranking import Candidate
from mpsearch.records import State, TrialRecord

RECORDS = [
    TrialRecord(0, State.COMPLETE, metric=0.9943, score=1.0443, costs={"total_bits": 184_560}, delta=0.0503, epochs=3,
                seconds=19.83, origin="uniform 8"),
    TrialRecord(117, State.FAILED, costs={"total_bits": 12_184_560}, delta=-0.1203, epochs=1, seconds=1901.3,
                origin="tpe", cause="TrainingError: the loss became nan in epoch 2: lower the learning rate"),
    TrialRecord(118, State.COMPLETE, metric=0.9943, score=1.0443, costs={"total_bits": 184_560}, delta=0.0503,
                origin="tpe", answered_from=0),
]  # fmt: skip
SPARE = ("epochs", "seconds", "origin")


@pytest.mark.parametrize("width", [66, 80, 200, UNBOUNDED])
def test_a_trial_takes_one_line_whatever_the_width(width):
    text = table_text(trial_rows(RECORDS, "accuracy"), "trials", SPARE, width)
    lines = [line for line in text.splitlines() if line.strip()]
    assert all(len(line) <= width for line in lines)
    title, head, rule, *rows = [line for line in lines if "too narrow" not in line]
    assert title.strip() == "trials"
    assert head.split()[:3] == ["trial", "state", "accuracy"]
    assert set(rule.strip()) == {"─"}
    assert [row.split()[:2] for row in rows] == [["0", "complete"], ["117", "failed"], ["118", "complete"]]
    assert "12,184,560" in rows[1]


def test_columns_that_do_not_fit_are_named():
    rows = trial_rows(RECORDS, "accuracy")
    assert "too narrow" not in table_text(rows, "", SPARE, 200)
    narrow = table_text(rows, "", SPARE, 70)
    assert "too narrow for: epochs, seconds" in narrow
    assert "origin" in narrow


def test_the_widest_text_folds_and_nothing_of_it_is_lost():
    rows = [{"what": "versions", "value": "tensorflow 2.21.0, " * 20}, {"what": "seed", "value": "1"}]
    text = table_text(rows, "study", (), 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.replace("\n", "").count("tensorflow") + text.count("tensor\n") >= 18
    assert sum("versions" in line for line in text.splitlines()) == 1


@pytest.mark.parametrize("cell", ["[auto] mean", "[/x] crash", "[bold]plain[/bold]"])
def test_cells_and_titles_are_taken_literally(cell):
    text = table_text([{"a [b]": cell}], cell, (), 80)
    assert text.count(cell) == 2
    assert "a [b]" in text


def test_a_table_that_is_piped_is_as_wide_as_it_needs():
    long = "x" * 300
    assert long in table_text([{"a": 1, "b": long, "c": 2}], "", (), UNBOUNDED)


def test_no_rows_are_said_to_be_none():
    assert table_text([], "studies", (), 80) == "studies: none\n"


def test_causes_answers_and_changes_are_said_below():
    said = remarks([*RECORDS, TrialRecord(3, State.COMPLETE, before_change=True)])
    assert said[0] == f"trial 117: {RECORDS[1].cause}"
    assert said[1] == "trial 118: same config as trial 0, answered from it"
    assert said[2].startswith("change before: trained before an accepted change")
    assert "change" not in trial_rows(RECORDS, "accuracy")[0]
    assert trial_rows([TrialRecord(3, State.COMPLETE, before_change=True)], "accuracy")[0]["change"] == "before"


def test_a_sparkline_goes_from_its_lowest_to_its_highest_value():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█" or sparkline([0.0, 0.5, 1.0]) == "▁▄█"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([0.0, float("nan"), 7.0]) == "▁·█"
    assert sparkline([]) == ""


def test_means_come_with_their_intervals_and_gaps_with_their_sign(capsys):
    tuned = {"validation": 0.98, "test": 0.95, "changed_alpha": "auto_po2"}
    again = {**tuned, "changed_alpha": None, "further": {"AUC": 0.75, "mae": 1.5}}
    print_candidates(
        [Candidate(RECORDS[0], (1.0, 1.1, 1.2), (0.9, 0.9, 0.9), failed=1, finetuned=(tuned, again)),
         Candidate(RECORDS[2], (1.05,), (0.9,))],
        "accuracy", "best",
    )  # fmt: skip
    out = capsys.readouterr().out
    assert "1.1000 ± 0.2484" in out  # t(0.975, 2 degrees) = 4.3027, s = 0.1
    assert "1.0500 ±" not in out
    assert "state" not in out  # a ranking has complete trials alone
    assert "trial 0: 1 repeat failed" in out
    assert "trial 0, fine-tuned with auto_po2: accuracy 0.9800 on validation, 0.9500 on test, gap +0.0300\n" in out
    assert "0.9500 on test, gap +0.0300, AUC 0.7500, mae 1.5000\n" in out


def test_further_metrics_are_shown_with_their_directions():
    result = FineTuned(
        trial=3, config=Config({}), before=0.5, validation=0.6, test=0.7, score=0.8, total_bits=12, delta=0.1, epochs=5,
        best_epoch=2, seconds=9.0, folder=Path("x"), further={"AUC": 0.75, "mae": 1.5},
    )  # fmt: skip
    (row,) = finetuned_rows([result], {"AUC": "rises", "mae": "falls"})
    assert (row["AUC ↑"], row["mae ↓"], row["best epoch"], row["δ"]) == (0.75, 1.5, 3, "+10.00%")
    assert list(row)[3:6] == ["test", "AUC ↑", "mae ↓"]
