"""The chapter on the winner."""

import dataclasses

import numpy as np

from reporting.chapters import verdict, winner
from reporting.drawing.style import percent
from reporting.evidence import Evidence
from reporting.keras_code import keras_code
from reporting.page.document import Code
from reporting.retraining import MODEL_FILE
from spaces.cnn import CnnConfig, ConvBlock
from spaces.cnn_model import build_model
from tests.reporting.written import drawn, pictures, tables, words


def test_the_winner_in_words(evidence: Evidence) -> None:
    section = winner.blocks(evidence)
    best = int(evidence.record.complete.index[0])
    count = len(evidence.remeasured)
    assert count > 2
    assert (
        f"The winner is trial {best}: of {count} configurations from 2 retrained trials it has the "
        "highest mean validation accuracy"
    ) in words(section)
    assert ", activation " in words(section)  # CnnSpace.describe
    shown = tables(section)["winner-hyperparameters"]
    params = dict(zip(shown.values["hyperparameter"], shown.values["value"], strict=True))
    assert params == evidence.record.trial_params(best)
    assert "Layers are not listed: model" in words(section)
    assert "does not exist" in words(section)


def test_an_augmentation_that_was_chosen_at_the_final_length_is_said(evidence: Evidence) -> None:
    made = with_shifts(evidence)
    number = made.winner.candidate.number  # type: ignore[union-attr]
    own = evidence.record.trial_params(number)["augmentation"]
    section = winner.blocks(made)
    said = words(section)
    assert f"The winner is trial {number} with flip_shift: of" in said
    assert (
        "The augmentation flip_shift was chosen at that length; in the search the trial had "
        f"{own}. All else is as in the search."
    ) in said
    shown = tables(section)["winner-hyperparameters"]
    params = dict(zip(shown.values["hyperparameter"], shown.values["value"], strict=True))
    assert params["augmentation"] == "flip_shift"
    said = words(verdict.blocks(made))
    assert f"The tuned network (trial {number} with flip_shift, chosen at the final length)" in said
    assert f"for 30 epochs, trial {number} with flip_shift reached" in said


def with_shifts(evidence: Evidence) -> Evidence:
    """The evidence with a winner whose augmentation is not its trial's."""
    assert evidence.winner is not None
    candidate = evidence.winner.candidate
    candidate = dataclasses.replace(
        candidate,
        augmentation="flip_shift",
        params=candidate.params | {"augmentation": "flip_shift"},
    )
    return dataclasses.replace(
        evidence, winner=dataclasses.replace(evidence.winner, candidate=candidate)
    )


def test_a_space_that_cannot_be_loaded(evidence: Evidence) -> None:
    facts = dict(evidence.record.facts) | {"space": "no_such_module:Space"}
    record = dataclasses.replace(evidence.record, facts=facts)
    section = winner.blocks(dataclasses.replace(evidence, record=record))
    assert "winner-hyperparameters" in tables(section)
    assert " | " not in words(section)


def test_the_winners_layers(evidence: Evidence) -> None:
    assert evidence.tuned is not None
    folder = evidence.tuned.runs[0].folder
    folder.mkdir(parents=True, exist_ok=True)  # other tests share the evidence
    path = folder / MODEL_FILE
    path.write_text("damaged")
    assert "is not a .keras file" in words(winner.blocks(evidence))
    config = CnnConfig(blocks=(ConvBlock(filters=6),), dense=(16,))
    model = build_model(config, (28, 28, 1), 10)
    model.save(path)
    section = winner.blocks(evidence)
    path.unlink()
    layers = tables(section)["winner-layers"]
    assert layers.values["parameters"].sum() == model.count_params()
    assert list(layers.shown["layer"]) == [layer.name for layer in model.layers]
    assert list(layers.shown["output shape"])[1] == "28 x 28 x 6"
    assert [block.text for block in section if isinstance(block, Code)] == [keras_code(model)]


def test_learning_curves_are_those_of_the_network_that_is_shipped(evidence: Evidence) -> None:
    assert evidence.tuned is not None
    picture = pictures(winner.blocks(evidence))["winner-learning"]
    last = np.mean([run.history[-1]["accuracy"] for run in evidence.tuned.runs])
    test = evidence.tuned.accuracy.mean
    assert picture.finding == (
        f"After epoch 10 training accuracy is {100 * last:.2f} %, {100 * (test - last):.2f} points "
        "below test accuracy"
    )
    assert "n = 3" in picture.caption
    axes = drawn(picture).axes
    assert len(axes) == 3
    np.testing.assert_allclose(axes[0].lines[0].get_ydata()[-1], 100 * last)
    assert list(axes[0].lines[0].get_xdata()) == list(range(1, 11))
    np.testing.assert_allclose(axes[0].lines[1].get_ydata(), 100 * test)
    assert [len(panel.collections) for panel in axes] == [1, 1, 1]  # bands


def test_learning_curves_without_training_accuracies(evidence: Evidence) -> None:
    tuned = evidence.tuned
    assert tuned is not None
    runs = [
        dataclasses.replace(run, history=[{"val_accuracy": 0.9} for _ in run.history])
        for run in tuned.runs
    ]
    made = dataclasses.replace(evidence, rows=[dataclasses.replace(tuned, runs=runs)])
    picture = pictures(winner.blocks(made))["winner-learning"]
    test = percent(tuned.accuracy.mean)
    assert picture.finding == f"Test accuracy is {test}; no training accuracy was recorded"
    [axes] = drawn(picture).axes
    assert [list(line.get_xdata())[-1] for line in axes.lines] == [10, 10]


def test_learning_curves_before_the_final_trainings(evidence: Evidence) -> None:
    assert evidence.winner is not None
    rows = [row for row in evidence.rows if row.kind == "baseline"]
    again = dataclasses.replace(evidence.winner, runs=2 * evidence.winner.runs)
    unfinished = dataclasses.replace(evidence, rows=rows, winner=again)
    picture = pictures(winner.blocks(unfinished))["winner-learning"]
    last = np.mean([run.history[-1]["val_accuracy"] for run in evidence.winner.runs])
    assert f"Validation accuracy is {100 * last:.2f} % after epoch 30" in picture.finding
    assert "The retrainings by which the winner was chosen." in picture.caption
    assert [len(panel.collections) for panel in drawn(picture).axes] == [2, 2, 1]  # bands


def test_learning_curves_of_one_seed_without_learning_rate(evidence: Evidence) -> None:
    assert evidence.winner is not None
    run = evidence.winner.runs[0]
    names = ("val_accuracy", "accuracy", "val_loss", "loss")
    history = [{name: entry[name] for name in names} for entry in run.history]
    one = dataclasses.replace(evidence.winner, runs=[dataclasses.replace(run, history=history)])
    picture = pictures(winner.blocks(dataclasses.replace(evidence, winner=one, rows=[])))[
        "winner-learning"
    ]
    assert "One seed (n = 1)" in picture.caption
    assert [len(panel.collections) for panel in drawn(picture).axes] == [0, 0]
