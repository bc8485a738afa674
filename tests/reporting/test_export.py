"""`best_model.keras` in other formats: the same outputs, and one line where that is impossible."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predicting.model import Model
from report import main
from reporting.export import FORMATS, export
from reporting.final_model import graph_of
from reporting.readout import Readout
from reporting.settings import ReportSettings
from reporting.views import Views
from search.errors import SettingsError
from spaces import DataShape
from spaces.cnn import CnnConfig, ConvBlock
from spaces.cnn_model import build_model

SHAPE = (20, 18, 3)
DATA = DataShape(SHAPE, 5)
# From dark to bright: any network tells them apart, also one with random weights.
BRIGHTNESS = np.linspace(0.1, 1, 7, dtype=np.float32)[:, None, None, None]
IMAGES = np.random.default_rng(0).integers(0, 256, (7, *SHAPE)).astype(np.float32) * BRIGHTNESS


@pytest.fixture(scope="module")
def best_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the `cnn` space with all views and temperature, with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    config = CnnConfig(
        blocks=(ConvBlock(filters=16, convs=2), ConvBlock(filters=16, pool="average")),
        residual=True,
        conv_batch_norm="before",
        conv_dropout=0.1,
        dense=(16,),
    )
    path = tmp_path_factory.mktemp("model") / "best_model.keras"
    network = Model(path, build_model(config, SHAPE, 5), SHAPE)
    graph = graph_of(network, Readout(views=Views(mirror=True, shifts=True), temperature=0.1), DATA)
    graph.save(path)
    return path


def expected(path: Path) -> Any:
    import keras

    return keras.saving.load_model(path).predict(IMAGES, verbose=0)


def test_onnx_gives_the_outputs_of_keras(best_model: Path) -> None:
    assert export(best_model, ["onnx"], DATA) == []
    import onnxruntime

    session = onnxruntime.InferenceSession(best_model.with_suffix(".onnx"))
    (given,) = session.get_inputs()
    assert given.name == "pixels_0_to_255"
    outputs = expected(best_model)
    assert np.ptp(outputs, axis=0).max() > 0.01
    for batch in (IMAGES, IMAGES[:1]):
        (found,) = session.run(None, {given.name: batch})
        np.testing.assert_allclose(found, outputs[: len(batch)], atol=1e-4)


# TensorFlow still has the interpreter that it wants to give away.
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_litert_gives_the_outputs_of_keras(best_model: Path) -> None:
    assert export(best_model, ["litert"], DATA) == []
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(best_model.with_suffix(".tflite")))
    run = interpreter.get_signature_runner()
    outputs = expected(best_model)
    for batch in (IMAGES, IMAGES[:1]):
        (found,) = run(pixels_0_to_255=batch).values()
        np.testing.assert_allclose(found, outputs[: len(batch)], atol=1e-4)


def test_a_model_that_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    import keras

    @keras.saving.register_keras_serializable("tests")
    class Own(keras.layers.Layer):  # type: ignore[misc]
        def call(self, images: Any) -> Any:
            import tensorflow as tf

            shares = tf.numpy_function(lambda given: given[:, :5, 0, 0], [images], tf.float32)
            return tf.ensure_shape(shares, (None, 5))

    images = keras.Input(SHAPE)
    keras.Model(images, Own()(images)).save(tmp_path / "best_model.keras")
    said = export(tmp_path / "best_model.keras", ["onnx", "litert"], DATA)
    assert said[0].startswith("best_model.onnx cannot be written, ")
    assert "PyFunc" in said[0]
    assert said[1].startswith("best_model.tflite cannot be written, ")
    assert all(line.isprintable() for line in said)
    assert [file.name for file in tmp_path.iterdir()] == ["best_model.keras"]


def test_formats_are_checked_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingsError, match=r"--export 'onx' is unknown; .* Did you mean 'onnx'"):
        ReportSettings(export=("litert", "onx"))
    assert ReportSettings(export=("litert",)).export == ("litert",)
    monkeypatch.setattr("reporting.export.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert main(["--export", "litert,onnx"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("report: --export onnx needs packages that are not installed: ")
    assert said.endswith("python -m pip install onnx tf2onnx.\n")
    assert set(FORMATS) == {"onnx", "litert"}
