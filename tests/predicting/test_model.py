"""Saved models: found, checked, loaded; their outputs as probabilities."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predicting.model
from predicting.archive import ModelError, check_model_file
from predicting.model import Model, load_model, newest_model
from spaces import DataShape
from tests.reporting.band_model import band_images, save_model

LABELS = range(10)
CLOTHING = DataShape((28, 28, 1), 10)


def layers_to_dense(dtype: str, activation: str | None) -> list[Any]:
    """Return layers that give the logit 4 to the class of the band, 0 to the others."""
    import keras

    dense = keras.layers.Dense(10, activation=activation, use_bias=False, dtype=dtype)
    dense.build((None, 784))
    kernel = (np.repeat(np.arange(28), 28)[:, np.newaxis] // 3 == np.arange(10)).astype(np.float32)
    dense.set_weights([4 * kernel / kernel.sum(axis=0)])
    return [keras.layers.Flatten(dtype=dtype), dense]


def build(ending: str, dtype: str) -> Any:
    """Build a model whose probabilities are the softmax of `layers_to_dense`."""
    import keras

    images = keras.Input((28, 28, 1))
    logits = keras.Sequential([keras.Input((28, 28, 1)), *layers_to_dense(dtype, None)])
    shares = keras.Sequential([keras.Input((28, 28, 1)), *layers_to_dense(dtype, "softmax")])
    if ending in ("logits", "softmax"):
        return {"logits": logits, "softmax": shares}[ending]
    outputs = {
        "linear": lambda: keras.layers.Activation("linear", dtype="float32")(logits(images)),
        "layer": lambda: keras.layers.Softmax(dtype=dtype)(logits(images)),
        "operation": lambda: keras.ops.softmax(logits(images)),
        "activation": lambda: keras.layers.Activation("softmax", dtype=dtype)(logits(images)),
        "softmax, linear": lambda: keras.layers.Activation("linear", dtype="float32")(
            shares(images)
        ),
        "nested": lambda: shares(images),
        "average": lambda: keras.layers.Average()([shares(images), shares(images)]),
    }
    return keras.Model(images, outputs[ending]())


ENDINGS = {
    *("logits", "softmax", "linear", "layer", "operation", "activation"),
    *("softmax, linear", "nested", "average"),
}


@pytest.mark.parametrize("ending", sorted(ENDINGS))
@pytest.mark.parametrize(
    ("dtype", "precision"),
    [("float32", 1e-5), ("float16", 3e-3), ("mixed_float16", 3e-3), ("mixed_bfloat16", 2e-2)],
)
def test_all_endings_give_the_same_probabilities_in_all_number_formats(
    tmp_path: Path, ending: str, dtype: str, precision: float
) -> None:
    build(ending, dtype).save(tmp_path / "m.keras")
    model = load_model(tmp_path / "m.keras", CLOTHING)
    found = model.probabilities(band_images(LABELS))
    assert found.dtype == np.float64
    # scikit-learn requires exact sums.
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-14)
    right, wrong = np.exp(4) / (np.exp(4) + 9), 1 / (np.exp(4) + 9)
    expected = np.where(np.eye(10, dtype=bool), right, wrong)
    np.testing.assert_allclose(found, expected, rtol=precision)
    for label in LABELS:
        alone = model.probabilities(band_images([label]))
        np.testing.assert_allclose(alone[0], found[label], rtol=1e-5)


class Subclassed:
    """A model without known layers, whose outputs follow from the first ten pixels."""

    def __init__(self, outputs: Callable[[np.ndarray], np.ndarray]) -> None:
        self.of = outputs

    def predict(self, images: np.ndarray, **_: object) -> np.ndarray:
        return self.of(images.reshape(len(images), -1)[:, :10])


def test_a_subclassed_model_of_the_users_is_predicted_with(tmp_path: Path) -> None:
    import keras

    @keras.saving.register_keras_serializable("tests")
    class OfTheUsers(keras.Model):  # type: ignore[misc]
        def __init__(self, **more: Any) -> None:
            super().__init__(**more)
            self.network = build("logits", "float32")

        def call(self, images: Any) -> Any:
            return self.network(images)

    model = OfTheUsers()
    model(keras.Input((28, 28, 1)))
    model.save(tmp_path / "m.keras")
    right = np.exp(4) / (np.exp(4) + 9)
    found = load_model(tmp_path / "m.keras", CLOTHING).probabilities(band_images([3]))
    assert found[0, 3] == pytest.approx(right, rel=1e-5)


def test_values_decide_once_for_a_model_whose_layers_are_unknown() -> None:
    odd = np.zeros((2, 28, 28, 1), np.uint8)
    odd[0, 0, 0, 0] = 255  # a row of logits that looks like probabilities: 1, 0, 0, ...
    model = Model(Path("m.keras"), Subclassed(lambda rows: rows), CLOTHING.image_shape)
    first, second = model.probabilities(odd)
    assert first[0] == pytest.approx(np.e / (np.e + 9))
    np.testing.assert_allclose(model.probabilities(odd[:1])[0], first)
    np.testing.assert_allclose(second, 0.1)
    shares = Model(
        Path("m.keras"),
        Subclassed(lambda rows: (rows + 1) / (rows + 1).sum(1)[:, None]),
        CLOTHING.image_shape,
    )
    assert shares.probabilities(odd)[0, 0] == pytest.approx(2 / 11)


def test_the_newest_model_is_found(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model found as .* Run report\.py first, or name"):
        newest_model(tmp_path)
    (tmp_path / "link" / "report").mkdir(parents=True)
    (tmp_path / "link" / "report" / "best_model.keras").symlink_to("nothing")
    preview = tmp_path / "a" / "report-preview" / "best_model.keras"
    preview.parent.mkdir(parents=True)
    preview.touch()
    with pytest.raises(ModelError, match=rf"of a preview only.* or add --model {preview}\."):
        newest_model(tmp_path)
    for name, seconds in (("a", 10), ("b", 30), ("c", 20)):
        path = tmp_path / name / "report" / "best_model.keras"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (seconds, seconds))
    assert newest_model(tmp_path) == tmp_path / "b" / "report" / "best_model.keras"


def test_without_a_report_the_reference_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = tmp_path / "results" / "reference"
    monkeypatch.setattr(predicting.model, "_REFERENCE", reference)
    with pytest.raises(ModelError, match=r"^((?!reference).)*$"):
        newest_model(tmp_path / "empty")
    (reference / "cnn" / "report").mkdir(parents=True)
    (reference / "cnn" / "report" / "best_model.keras").touch()
    with pytest.raises(ModelError, match=rf"add --results-dir {reference}\. Run report"):
        newest_model(tmp_path / "empty")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"add --results-dir results/reference\. Run report"):
        newest_model(Path("results"))


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no\.keras does not exist\. Run report\.py first, or"):
        check_model_file(tmp_path / "no.keras")


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_another_format_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89HDF\r\n")
    with pytest.raises(ModelError, match=r"a \.keras file: it is .*Save it with model\.save"):
        check_model_file(tmp_path / name)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a \.keras file: it is a folder"):
        check_model_file(tmp_path)


def test_code_in_a_model_is_not_run(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x[:, :10])]
    )
    model.save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"load_model cannot load it, .* no Lambda layer"):
        load_model(tmp_path / "m.keras", CLOTHING)


@pytest.mark.parametrize(
    ("changed", "shapes"),
    [
        ({"input_shape": (32, 32, 3)}, r"its input is \(None, 32, 32, 3\)"),
        ({"classes": 7}, r"shape \(None, 7\); it must be one of shape \(None, 10\)"),
    ],
)
def test_another_shape_is_refused(tmp_path: Path, changed: dict[str, object], shapes: str) -> None:
    model = save_model(tmp_path / "m.keras", **changed)
    with pytest.raises(ModelError, match=rf"{shapes}\. Name another one with"):
        load_model(model, CLOTHING)


def test_a_model_that_diverged_is_refused(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.keras", scale=float("nan"))
    with pytest.raises(ModelError, match=r"not finite: its training diverged\. Name another"):
        load_model(model, CLOTHING).probabilities(band_images([0]))


def test_an_installed_command_names_the_installed_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/keras-search-predict"])
    with pytest.raises(ModelError, match=r"Run keras-search-report first, or name a model"):
        newest_model(tmp_path)
    with pytest.raises(ModelError, match=r"does not exist\. Run keras-search-report first, or"):
        load_model(tmp_path / "gone.keras", CLOTHING)


def test_a_model_of_other_images_and_classes_is_loaded(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.keras", input_shape=(20, 30, 3), classes=3)
    loaded = load_model(model, DataShape((20, 30, 3), 3))
    images = np.random.default_rng(0).integers(0, 256, (7, 20, 30, 3), np.uint8)
    shares = loaded.probabilities(images)
    assert shares.shape == (7, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-14)


def test_many_large_images_are_predicted_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(save_model(tmp_path / "m.keras"), CLOTHING)
    images = band_images([*LABELS, *LABELS, 3])
    whole = model.probabilities(images)
    monkeypatch.setattr(predicting.model, "_BATCH_PIXELS", 2 * 28 * 28)
    monkeypatch.setattr(predicting.model, "_PART_PIXELS", 4 * 28 * 28)
    np.testing.assert_allclose(model.probabilities(images), whole, rtol=1e-5)


def test_models_that_are_loaded_in_turn_bring_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_model(tmp_path / "m.keras")
    with caplog.at_level(logging.WARNING, "tensorflow"):
        for _ in range(8):
            load_model(path, CLOTHING).probabilities(band_images([0]))
    assert caplog.text == ""
