"""What a running command shows."""

from dataclasses import replace

from mpsearch.progress import RunProgress
from mpsearch.records import State, TrialRecord

RECORD = TrialRecord(4, State.COMPLETE, metric=0.99, score=1.08, costs={"total_bits": 93_128}, delta=0.1, seconds=3.0)


def test_the_last_lines_end_without_a_time_left(capsys):
    with RunProgress(2, 0, None, 3, "accuracy") as shown:
        shown.trial_ended(RECORD)
        shown.trial_ended(RECORD)
    first, last = capsys.readouterr().out.splitlines()
    assert first.endswith(" left")
    assert last.endswith("; best 1.0800")
    with RunProgress(1, 0, None, 3, "accuracy") as shown:
        shown.repeat_ended(RECORD, 1, 1.07, "")
    assert capsys.readouterr().out == "[1/1] trial 4, repeat 1: score 1.0700 (the trial's: 1.0800)\n"


def test_the_bar_that_stays_shows_the_best_of_all(monkeypatch):
    monkeypatch.setattr("mpsearch.progress._in_notebook", lambda: True)
    with RunProgress(1, 0, 1.05, 3, "accuracy") as shown:
        shown.epoch_ended(4, 2, {"score": 1.08})
        shown.trial_ended(RECORD)
    (task,) = shown._bar.tasks
    assert task.description == "trial 4 · best 1.0800"
    assert (task.completed, task.fields["left"]) == (1, "")


def test_what_other_processes_train_is_named(capsys):
    with RunProgress(9, 0, None, 3, "accuracy") as shown:
        shown.waiting([4])
        shown.waiting([4, 7])
        shown.trial_ended(replace(RECORD, state=State.BROKEN, cause="its process died"))
    assert capsys.readouterr().out.splitlines() == [
        "waiting for trial 4 of other processes",
        "waiting for trials 4, 7 of other processes",
        "[0/9] trial 4: broken (its process died), tried again",
    ]
