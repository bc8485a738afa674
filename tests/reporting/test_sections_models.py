"""The chapters on the winner, its classes, mistakes, and the data."""

import dataclasses
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from reporting.analysis.calibration import calibration_error
from reporting.chapters import classes, data, mistakes, winner
from reporting.evidence import Evidence
from reporting.keras_code import keras_code
from reporting.page.document import Block, Code, Paragraph, Picture, Table
from reporting.retraining.order import MODEL_FILE
from reporting.scoring import TestSplit
from search.data.classes import CLASS_NAMES
from spaces.baselines import BASELINES
from spaces.cnn import CnnConfig, ConvBlock
from spaces.cnn_model import build_model
from tests.reporting.made_evidence import made_evidence

CHAPTERS = (winner, classes, mistakes, data)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("untrained"), trials=1, retrained=False)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """One complete trial, one seed each, and gaps."""
    gaps = ("bn-cnn", "mlp")
    return made_evidence(
        tmp_path_factory.mktemp("single"), trials=1, seeds=1, candidate_seeds=1, top=1, gaps=gaps
    )


def words(section: list[Block]) -> str:
    """All that can be read, outside tables."""
    parts = []
    for block in section:
        if isinstance(block, Paragraph):
            parts.append(block.text)
        if isinstance(block, Picture):
            parts += [block.finding, block.caption]
    return "\n".join(parts)


def tables(section: list[Block]) -> dict[str, Table]:
    return {block.name: block for block in section if isinstance(block, Table)}


def pictures(section: list[Block]) -> dict[str, Picture]:
    return {block.name: block for block in section if isinstance(block, Picture)}


@pytest.mark.parametrize("chapter", [winner, classes, mistakes])
def test_nothing_retrained(chapter: ModuleType, untrained: Evidence) -> None:
    section = chapter.blocks(untrained)
    assert "Nothing was retrained, so no winner was chosen" in words(section)
    assert len(section) == 1


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_one_seed_and_gaps(chapter: ModuleType, single: Evidence) -> None:
    section = chapter.blocks(single)
    for picture in pictures(section).values():
        picture.figure.draw_without_rendering()


@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.parametrize("kept", ["tuned", "baseline", ""])
def test_only_some_rows(chapter: ModuleType, kept: str, evidence: Evidence) -> None:
    empty = np.empty((0, 1000, 10))
    rows = [
        row
        if row.kind == kept
        else dataclasses.replace(row, runs=[], probabilities=empty, gap="killed")
        for row in evidence.rows
    ]
    section = chapter.blocks(dataclasses.replace(evidence, rows=rows))
    for picture in pictures(section).values():
        picture.figure.draw_without_rendering()
    if kept != "tuned" and chapter in (classes, mistakes):
        assert words(section) == (
            "No final training of the winner is finished (killed): there is nothing to show here."
        )


# The winner


def test_the_winner_in_words(evidence: Evidence) -> None:
    section = winner.blocks(evidence)
    best = int(evidence.record.complete.index[0])
    assert f"Trial {best} won: of 3 retrained trials" in words(section)
    assert ", activation " in words(section)  # CnnSpace.describe
    shown = tables(section)["winner-hyperparameters"]
    assert shown.values is not None
    params = dict(zip(shown.values["hyperparameter"], shown.values["value"], strict=True))
    assert params == evidence.record.trial_params(best)
    assert "Its layers are not listed: model" in words(section)
    assert "does not exist" in words(section)


def test_a_space_that_cannot_be_loaded(evidence: Evidence) -> None:
    facts = dict(evidence.record.facts) | {"space": "no_such_module:Space"}
    record = dataclasses.replace(evidence.record, facts=facts)
    section = winner.blocks(dataclasses.replace(evidence, record=record))
    assert "winner-hyperparameters" in tables(section)
    assert " | " not in words(section)


def test_the_winners_layers(evidence: Evidence) -> None:
    assert evidence.tuned is not None
    folder = evidence.tuned.runs[0].folder
    folder.mkdir(parents=True)
    path = folder / MODEL_FILE
    path.write_text("damaged")
    assert "is not a .keras file" in words(winner.blocks(evidence))
    model = build_model(CnnConfig(blocks=(ConvBlock(filters=6),), dense=(16,)))
    model.save(path)
    section = winner.blocks(evidence)
    path.unlink()
    layers = tables(section)["winner-layers"]
    assert layers.values is not None
    assert layers.values["parameters"].sum() == model.count_params()
    assert list(layers.shown["layer"]) == [layer.name for layer in model.layers]
    assert list(layers.shown["output shape"])[1] == "28 x 28 x 6"
    assert [block.text for block in section if isinstance(block, Code)] == [keras_code(model)]


def test_learning_curves_over_the_seeds(evidence: Evidence) -> None:
    assert evidence.winner is not None
    picture = pictures(winner.blocks(evidence))["winner-learning"]
    last = np.mean([run.history[-1]["val_accuracy"] for run in evidence.winner.runs])
    assert f"Validation accuracy is {100 * last:.2f} % after epoch 8" in picture.finding
    assert "n = 2" in picture.caption
    axes = picture.figure.axes
    assert len(axes) == 3
    np.testing.assert_allclose(axes[0].lines[0].get_ydata()[-1], 100 * last)
    assert [len(panel.collections) for panel in axes] == [2, 2, 1]  # bands


def test_learning_curves_of_one_seed_without_learning_rate(evidence: Evidence) -> None:
    assert evidence.winner is not None
    run = evidence.winner.runs[0]
    names = ("val_accuracy", "accuracy", "val_loss", "loss")
    history = [{name: entry[name] for name in names} for entry in run.history]
    one = dataclasses.replace(evidence.winner, runs=[dataclasses.replace(run, history=history)])
    picture = pictures(winner.blocks(dataclasses.replace(evidence, winner=one)))["winner-learning"]
    assert "One fresh seed (n = 1)" in picture.caption
    assert [len(panel.collections) for panel in picture.figure.axes] == [0, 0]


# Its code


def rebuilt(model: keras.Model) -> keras.Model:
    scope: dict[str, Any] = {}
    exec(keras_code(model), scope)
    return scope["model"]


def assert_same(first: keras.Model, second: keras.Model) -> None:
    assert second.name == first.name
    assert [layer.get_config() for layer in second.layers] == [
        layer.get_config() for layer in first.layers
    ]
    assert second.count_params() == first.count_params()
    second.set_weights(first.get_weights())
    images = np.random.default_rng(0).random((2, *first.input_shape[1:]), np.float32)
    np.testing.assert_array_equal(
        np.asarray(second(images, training=False)), np.asarray(first(images, training=False))
    )


CONFIGS = {baseline.name: baseline.config for baseline in BASELINES} | {
    "default": CnnConfig.from_params({}),
    "residual": CnnConfig(
        blocks=(ConvBlock(filters=6, convs=2, pool="average"), ConvBlock(filters=16, convs=2)),
        padding="valid",
        conv_batch_norm="after",
        residual=True,
        conv_dropout=0.2,
        activation="silu",
        head="global_average",
        dense=(16, 32),
        head_dropout=0.3,
        head_dropout_placement="each",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_code_rebuilds_a_network_of_the_space(name: str) -> None:
    model = build_model(CONFIGS[name])
    assert_same(model, rebuilt(model))
    assert max(map(len, keras_code(model).splitlines())) <= 88


def test_code_of_a_sequential_model() -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(
                4,
                3,
                strides=2,
                activation="relu",
                kernel_initializer=keras.initializers.HeNormal(seed=3),
                kernel_regularizer=keras.regularizers.L2(0.01),
            ),
            layers.MaxPooling2D(3, strides=1),
            layers.Flatten(),
            layers.Dense(3, use_bias=False),
        ],
        name="small",
    )
    code = keras_code(model)
    assert "kernel_initializer=keras.initializers.HeNormal(seed=3)" in code
    assert_same(model, rebuilt(model))


def test_code_of_several_inputs_and_outputs() -> None:
    images, more = keras.Input((4,), name="1st"), keras.Input((4,), dtype="uint8", name="x")
    cast = keras.layers.Rescaling(1 / 255)(more)
    joined = keras.layers.Concatenate(axis=-1)([images, cast])
    model = keras.Model([images, more], [keras.layers.Dense(2, name="class")(joined), cast])
    copy = rebuilt(model)
    assert [layer.get_config() for layer in copy.layers] == [
        layer.get_config() for layer in model.layers
    ]
    assert [output.shape for output in copy.outputs] == [output.shape for output in model.outputs]


class Twice(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return 2 * inputs


def half(inputs: Any) -> Any:
    return inputs / 2


def test_code_says_what_is_not_stock_keras() -> None:
    images = keras.Input((4,))
    model = keras.Model(
        images, keras.layers.Dense(2, activation=half, name="halved")(Twice(name="twice")(images))
    )
    code = keras_code(model)
    assert f"# Make the layer twice yourself: {__name__}.Twice is not a stock Keras layer." in code
    assert "# Make the layer halved yourself: it uses half, which is not stock Keras." in code
    scope: dict[str, Any] = {}
    with pytest.raises(NameError, match="twice"):
        exec(code, scope)
    exec(code, {"twice": Twice(name="twice"), "halved": keras.layers.Dense(2)})


def test_code_of_models_that_cannot_be_written() -> None:
    images = keras.Input((4,))
    shared = keras.layers.Dense(4)
    model = keras.Model(images, shared(shared(images)), name="again")
    assert keras_code(model).startswith("# again uses a layer more than once")

    class Own(keras.Model):
        pass

    assert keras_code(Own(name="own")).startswith("# own is neither functional nor Sequential")


# Class by class


def test_scores_of_each_class(evidence: Evidence) -> None:
    row = evidence.tuned
    assert row is not None
    values = tables(classes.blocks(evidence))["classes-scores"].values
    assert values is not None
    given = row.probabilities.argmax(axis=2)
    for label, name in enumerate(CLASS_NAMES):
        line = values.set_index("class").loc[name]
        of_class = row.labels == label
        recall = np.mean([(seed[of_class] == label).mean() for seed in given])
        precision = np.mean([(row.labels[seed == label] == label).mean() for seed in given])
        assert line["recall"] == pytest.approx(recall)
        assert line["precision"] == pytest.approx(precision)
        assert line["support"] == of_class.sum()
        # Wilson's interval, written out.
        z, n = 1.959964, of_class.sum()
        centre = (recall + z * z / (2 * n)) / (1 + z * z / n)
        half_width = z / (1 + z * z / n) * np.sqrt(recall * (1 - recall) / n + z * z / (4 * n * n))
        assert line["recall low"] == pytest.approx(centre - half_width, abs=1e-6)
        assert line["recall high"] == pytest.approx(centre + half_width, abs=1e-6)


def true_labels(evidence: Evidence) -> np.ndarray:
    assert evidence.test is not None
    return evidence.test.labels.astype(int)


def planted(evidence: Evidence, given: list[np.ndarray]) -> Evidence:
    """Evidence whose row `tuned` gives these labels, one array for each seed."""
    probabilities = np.full((len(given), 1000, 10), 0.01)
    for seed, labels in enumerate(given):
        probabilities[seed, np.arange(1000), labels] = 0.91
    rows = [
        dataclasses.replace(row, probabilities=probabilities) if row.kind == "tuned" else row
        for row in evidence.rows
    ]
    return dataclasses.replace(evidence, rows=rows)


def test_the_most_confused_pairs(evidence: Evidence) -> None:
    labels = true_labels(evidence)
    first, second = labels.copy(), labels.copy()
    first[np.flatnonzero(labels == 6)[:30]] = 0
    second[np.flatnonzero(labels == 6)[:20]] = 0
    second[np.flatnonzero(labels == 0)[:4]] = 6
    section = classes.blocks(planted(evidence, [first, second]))
    assert (
        "Most often confused, mean over n = 2 seeds: T-shirt/top and Shirt: 27 images (2 of "
        "T-shirt/top taken for Shirt, 25 the other way)."
    ) in words(section)
    finding = pictures(section)["classes-confusion"].finding
    share = 100 * 25 / np.sum(labels == 6)
    assert finding == (
        f"Shirt is recognised least often: {100 - share:.1f} %; {share:.1f} % are taken for "
        "T-shirt/top"
    )
    difference = pictures(section)["classes-difference"]
    assert evidence.best_baseline is not None
    assert evidence.best_baseline.name in difference.finding


def test_no_mistakes_at_all(evidence: Evidence) -> None:
    perfect = planted(evidence, [true_labels(evidence)] * 2)
    assert "No image was taken for another class." in words(classes.blocks(perfect))
    said = words(mistakes.blocks(perfect))
    assert "On average over 2 seeds 0 of 1,000 test images are wrong." in said
    assert "no test image is wrong" in said
    assert "No test image is wrong under all 2 seeds." in said


def test_a_class_that_is_missing(evidence: Evidence) -> None:
    rows = [
        dataclasses.replace(
            row, labels=row.labels[:9], probabilities=row.probabilities[:, :9].copy()
        )
        for row in evidence.rows
    ]
    shown = tables(classes.blocks(dataclasses.replace(evidence, rows=rows)))["classes-scores"].shown
    last = shown.iloc[-1]
    assert (last["support"], last["recall"], last["95 % interval of recall"]) == ("0", "-", "-")


# Mistakes and confidence


def test_mistakes_are_counted(evidence: Evidence) -> None:
    row = evidence.tuned
    assert row is not None
    section = mistakes.blocks(evidence)
    mean = row.probabilities.mean(axis=0)
    wrong = mean.argmax(axis=1) != row.labels
    surest = int(np.argmax(np.where(wrong, mean.max(axis=1), 0)))
    confident = pictures(section)["mistakes-confident"]
    each = (row.probabilities.argmax(axis=2) != row.labels).sum(axis=1)
    assert each.mean() != wrong.sum()
    assert confident.finding.startswith(
        f"On average over 3 seeds {each.mean():.4g} of 1,000 test images are wrong; "
    )
    assert confident.finding.endswith("(confidences are means over the 3 seeds)")
    assert CLASS_NAMES[row.labels[surest]] in confident.finding
    assert f"no. {surest}: " in confident.figure.axes[0].texts[0].get_text()
    always = (row.probabilities.argmax(axis=2) != row.labels).all(axis=0)
    finding = pictures(section)["mistakes-always"].finding
    assert finding.startswith(f"{always.sum()} of 1,000 test images are wrong under all 3 seeds")


def test_wrong_in_every_seed_but_right_on_average(evidence: Evidence) -> None:
    labels = true_labels(evidence)
    given = [labels.copy() for _ in range(3)]
    for seed in range(3):
        given[seed][0] = seed + 1  # image 0 is a T-shirt/top
    made = planted(evidence, given)
    assert made.tuned is not None
    made.tuned.probabilities[:, 0] = 0.01
    for seed in range(3):
        made.tuned.probabilities[seed, 0, [0, seed + 1]] = 0.45, 0.47
    picture = pictures(mistakes.blocks(made))["mistakes-always"]
    assert (
        picture.finding == "1 of 1,000 test images are wrong under all 3 seeds, 0 more under some"
    )
    assert "as T-shirt/top" not in picture.figure.axes[0].texts[0].get_text()


def test_one_seed_says_nothing_of_what_is_always_wrong(single: Evidence) -> None:
    said = words(mistakes.blocks(single))
    assert "With one seed (n = 1) nothing can be said" in said
    assert single.tuned is not None
    assert f"{(~single.tuned.correct).sum()} of 1,000 test images are wrong; the surest" in said
    assert "means over" not in said


def test_calibration_error() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False, True, False])
    expected = (4 * abs(0.75 - 0.95) + 2 * abs(0.5 - 0.55)) / 6
    assert calibration_error(confidence, correct) == pytest.approx(expected)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_calibration_names_both_rows(evidence: Evidence) -> None:
    tuned, baseline = evidence.tuned, evidence.best_baseline
    assert tuned is not None and baseline is not None
    said = words(mistakes.blocks(evidence))
    for row in (tuned, baseline):
        each = [
            calibration_error(part.max(axis=1), part.argmax(axis=1) == row.labels)
            for part in row.probabilities
        ]
        assert f"{row.name} has {100 * np.mean(each):.2f} points (n = 3)" in said


# The data


def test_classes_are_counted(evidence: Evidence) -> None:
    shown = tables(data.blocks(evidence))["data-classes"].shown
    split = evidence.split
    parts = (split.train_labels, split.val_labels, true_labels(evidence))
    assert list(shown.iloc[0]) == ["T-shirt/top", *(str(np.sum(part == 0)) for part in parts)]
    assert list(shown.iloc[-1]) == ["all", "2,000", "500", "1,000"]
    assert "No test image is a training or validation image too" in words(data.blocks(evidence))


def test_closed_test_images_are_not_counted(untrained: Evidence) -> None:
    section = data.blocks(untrained)
    assert list(tables(section)["data-classes"].shown) == ["class", "training", "validation"]
    assert "The test images stay closed" in words(section)
    assert len(tables(section)["data-duplicates"].shown) == 1


def test_duplicates_and_their_effect(evidence: Evidence) -> None:
    tuned, test = evidence.tuned, evidence.test
    assert tuned is not None and test is not None
    train = evidence.split.train_images.copy()
    labels = evidence.split.train_labels
    assert labels[10] == labels[0] != labels[11]
    train[[10, 11]] = train[0]
    images = test.images.copy()
    assert test.labels[20] == test.labels[40] == labels[30]
    assert test.labels[21] != evidence.split.val_labels[2]
    images[[20, 40]] = train[30]  # the same label, and a twin in the test images, too
    images[21] = evidence.split.val_images[2]  # another label
    section = data.blocks(
        dataclasses.replace(
            evidence,
            split=dataclasses.replace(evidence.split, train_images=train),
            test=TestSplit(images=images, labels=test.labels),
        )
    )
    values = tables(section)["data-duplicates"].values
    assert values is not None
    assert values.set_index("where").T.to_dict("list") == {
        "training and validation": [3, 1, 3],
        "test": [2, 1, 0],
        "test, also in training or validation": [3, 2, 1],
    }
    kept = np.delete(np.arange(1000), [20, 21, 40])
    without = np.mean(
        [
            accuracy_score(test.labels[kept], given[kept])
            for given in tuned.probabilities.argmax(axis=2)
        ]
    )
    assert "Without the 3 test images that are training or validation images too" in words(section)
    assert f"is {100 * without:.2f} % in place of {100 * tuned.accuracy.mean:.2f} %" in words(
        section
    )
