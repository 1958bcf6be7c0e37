"""`mpsearch analyse`, typed as a user would."""

import json
from pathlib import Path

import pytest

TINY = Path(__file__).resolve().parents[1] / "tiny.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_engine):
    """A folder with a space file whose trials are watched; float weights come from the session's cache."""
    made = tmp_path_factory.mktemp("analysed")
    text = TINY.read_text().replace(
        "batch_size=32, learning_rate=2e-3", "batch_size=32, learning_rate=2e-3, observe=True"
    )
    (made / "mine.py").write_text(text)
    return made


def test_a_trial_is_analysed(mpsearch, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert mpsearch("study", "create", "--space", "mine.py", "--sampler", "random")[0] == 0
    assert mpsearch("study", "run", "mine", "--trials", "1", "--quiet")[0] == 0
    code, out, err = mpsearch("analyse", "mine", "--figure", "page.html", "--samples", "64")
    assert code == 0, err
    assert "mine, trial 0, trial weights: kernels and biases" in out
    assert "mine, trial 0, trial weights: feature maps" in out
    assert "what each epoch did" in out
    assert "conv/kernel" in out
    assert (folder / "page.html").exists()

    code, out, _ = mpsearch("analyse", "mine", "--trial", "0", "--train", "--json", "--samples", "64")
    assert code == 0
    again = json.loads(out)
    assert again["weights"] == "trained again"
    (watched,) = folder.glob("studies/runs/*/observed/trial-0.json")
    assert again["epochs"] == json.loads(watched.read_text())  # trained again it does the same

    code, _, err = mpsearch("analyse", "mine", "--trial", "0", "--alpha", "auto_po2")
    assert code == 1
    assert "mpsearch finetune mine --trial 0 --alpha auto_po2" in err

    code, _, err = mpsearch("analyse", "mine", "--figure", "page.png")
    assert code == 1
    assert "an .html file" in err
