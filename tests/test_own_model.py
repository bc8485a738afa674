"""The model of docs/own-model.md: built for the data at hand, trained, and saved."""

import re
from pathlib import Path

import numpy as np
import pytest

from search.data.split import Split
from search.training.building import build_for_training
from search.training.hyperparameters import TrialHyperParameters
from search.training.loop import Ending, train
from search.training.saving import save_model
from spaces import DataShape, load_space
from tests.command_line import run

PAGE = Path(__file__).resolve().parent.parent / "docs" / "own-model.md"
(CODE,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(), re.DOTALL)
VALUES = {"fine_tune": True, "dropout": 0.1, "learning_rate": 1e-3}
CLASSES = 3


@pytest.mark.parametrize("channels", [3, 1])
def test_the_model_on_a_network_of_keras_applications_is_trained_and_saved(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CODE.count('weights="imagenet"') == 1
    module = f"transfer_{channels}"
    code = CODE.replace('weights="imagenet"', "weights=None")  # nothing is downloaded
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    data = DataShape((32, 32, channels), CLASSES)
    space = load_space(f"{module}:Transfer", data)
    hp = TrialHyperParameters(lambda name, distribution: VALUES[name])
    model, config = build_for_training(space, hp, data)
    assert hp.values == VALUES
    assert config.learning_rate == VALUES["learning_rate"]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, *data.image_shape), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8) % CLASSES
    split = Split(
        train_images=images,
        train_labels=labels,
        val_images=images,
        val_labels=labels,
        classes=CLASSES,
    )
    result = train(model, config, split, max_epochs=1, seed=0, on_epoch=lambda epoch, entry: False)
    assert result.ended is Ending.COMPLETE
    assert save_model(model, data)


def test_a_search_says_that_the_module_of_its_space_has_changed(
    tmp_path: Path, small_data: Path
) -> None:
    module = tmp_path / "changing.py"
    code = (
        "import keras\n\ndef build(hp):\n"
        "    hp.Int('units', 1, 9)\n"
        "    return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), "
        "keras.layers.Dense(10)])\n"
    )
    module.write_text(code)
    flags = ("--space", "changing:build", "--epochs", "1", "--val-size", "100", "--workers", "1")
    said = []
    # The third run trains nothing, so the trials are still those of the first two.
    for trials, edit in ((1, ""), (2, "# a comment\n"), (2, "x = 1\n"), (3, "")):
        module.write_text(module.read_text() + edit)
        ran = run(tmp_path, small_data, *flags, "--trials", str(trials), "--study", "mine")
        assert ran.returncode == 0, ran.stderr
        said.append("the module of space changing:build has changed" in ran.stdout + ran.stderr)
    assert said == [False, False, False, True]
