"""The recipes of docs/extending.md: each diff applies to a copy, and its command succeeds there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import LONGEST_SECONDS

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("spaces", "search", "reporting", "predicting", "tests", "pyproject.toml", "report.py")
RECIPE = re.compile(r"^## (.+?)\n.*?```diff\n(.*?)```.*?```sh\n(.*?)\n```", re.M | re.S)
RECIPES = {
    title: (diff, command)
    for title, diff, command in RECIPE.findall((ROOT / "docs" / "extending.md").read_text())
}
# The files that a recipe may touch: this is how short it must stay.
TOUCHED = {
    "A sampler": {"search/engines/samplers.py"},
    "A pruner": {"search/engines/pruners.py"},
    "A hyperparameter of the `cnn` space": {"spaces/cnn.py", "spaces/cnn_model.py"},
    "A training hyperparameter": {"spaces/training.py", "search/training/optimizers.py"},
    "A chapter of the report": {
        "reporting/chapters/contents.py",
        "reporting/chapters/slowest.py",
    },
    "A flag": {"reporting/settings.py", "reporting/chapters/contents.py"},
}
# Tests of what a recipe adds; they run with its command.
ADDED = {
    "A hyperparameter of the `cnn` space": """
import keras

from spaces.cnn import CnnConfig, ConvBlock
from spaces.cnn_model import build_model


def test_a_network_is_built_and_described_with_it():
    config = CnnConfig(blocks=(ConvBlock(filters=16),), separable=True)
    model = build_model(config, (28, 28, 1), classes=10)
    assert isinstance(model.get_layer("conv_1_1"), keras.layers.SeparableConv2D)
    assert CnnConfig.from_params(config.params()) == config
    assert ", separable, " in config.describe()
""",
    "A training hyperparameter": """
import keras

from search.training.optimizers import compile_model
from spaces.training import TrainingConfig


def test_a_training_step_uses_it():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    config = TrainingConfig(optimizer="sgd", learning_rate=1.0, max_gradient_norm=0.01)
    compile_model(model, config, total_steps=1, classes=2)
    before = model.get_weights()
    large = [keras.ops.full(weight.shape, 100.0) for weight in model.trainable_variables]
    model.optimizer.apply(large, model.trainable_variables)
    steps = [after - weight for after, weight in zip(model.get_weights(), before, strict=True)]
    assert 0 < max(abs(step).max() for step in steps) < 0.02
""",
}
# Tests of a command that concern no recipe and are slow; the suite runs them anyway.
LEFT_OUT = {"A chapter of the report": ("-k", "not odd_names")}


def test_the_page_has_a_recipe_for_every_extension() -> None:
    assert set(RECIPES) == set(TOUCHED)


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works_and_touches_only_its_files(title: str, tmp_path: Path) -> None:
    diff, command = RECIPES[title]
    assert set(re.findall(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)) == TOUCHED[title]
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    # A repository of its own, so that git applies the diff here and not in one around it.
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    applied = subprocess.run(
        ["git", "apply", "-"], cwd=tmp_path, input=diff, text=True, capture_output=True
    )
    assert applied.returncode == 0, applied.stderr

    words = shlex.split(command)
    assert words[0] == "python"
    if title in ADDED:
        (tmp_path / "test_added.py").write_text(ADDED[title])
        words.append("test_added.py")
    words += LEFT_OUT.get(title, ())
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    ran = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=tmp_path,
        env=env | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    for flag in re.findall(r'^\+ +"(--[a-z-]+)"', diff, re.MULTILINE):
        assert flag in ran.stdout
