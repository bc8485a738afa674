"""Trials inside a worker: real small trainings, and models that stock Keras loads."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predicting.model import Model, load_model
from search.data.formats import open_dataset
from search.data.split import SplitSizes, load_split
from search.errors import SearchError
from search.training.hardware import Precision, set_precision
from search.workers.keras_trainer import KerasTrainer, WorkerSettings
from search.workers.link import Link
from search.workers.messages import (
    Beat,
    Built,
    Epoch,
    Failed,
    Images,
    Measure,
    Measured,
    Ready,
    Suggest,
    Train,
    Trained,
    Unusable,
)
from search.workers.process import serve
from spaces import DataShape
from spaces.mlp import MlpConfig


class TooSmall:
    """A space whose images are too small for its pooling."""

    def build(self, hp: Any) -> Any:
        import keras

        inputs = keras.Input((28, 28, 1))
        return keras.Model(inputs, keras.layers.MaxPooling2D(29)(inputs))


def small_net(*layers: Any) -> Any:
    import keras

    outputs = inputs = keras.Input((28, 28, 1))
    for layer in (keras.layers.Flatten(), *layers, keras.layers.Dense(10)):
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def exits(hp: Any) -> Any:
    sys.exit("no data")


def loses_its_download(hp: Any) -> Any:
    raise ConnectionResetError("the download broke off")


def reads_a_truncated_file(hp: Any) -> Any:
    raise EOFError("the file is truncated")


def names_one_twice(hp: Any) -> Any:
    kind = hp.Choice("kind", ["a", "b"])
    for scope in ("a", "b"):
        with hp.conditional_scope("kind", [scope]):
            hp.Int("units", 1, 2)
    return small_net(kind)


def returns_nothing(hp: Any) -> Any:
    return None


def has_a_lambda(hp: Any) -> Any:
    import keras

    return small_net(keras.layers.Lambda(lambda inputs: 2 * inputs))


def clears(hp: Any) -> Any:
    import keras

    keras.backend.clear_session()
    return small_net()


def without_channels(hp: Any) -> Any:
    import keras

    return keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10)])


class Carries:
    """Makes its layer once, for all trials."""

    def __init__(self) -> None:
        import keras

        self.layer = keras.layers.Dense(4, name="carried")

    def build(self, hp: Any) -> Any:
        return small_net(self.layer)


class TrainsItself:
    """Has its own training, which reports nothing before its end."""

    def build(self, hp: Any) -> Any:
        import keras

        model = small_net(keras.layers.Dense(hp.Int("units", 4, 8)))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=["accuracy"])
        return model

    def fit(self, hp: Any, model: Any, *data: Any, epochs: int, **more: Any) -> Any:
        del more["callbacks"]
        return model.fit(*data, epochs=epochs, batch_size=hp.Choice("batch_size", [64]), **more)


class Channel:
    """In place of a pipe to a coordinator that sends some orders, then goes away."""

    def __init__(self, *orders: Train) -> None:
        self._orders = list(orders)
        self._sent: list[Any] = []

    def send(self, message: object) -> None:
        self._sent.append(message)

    def recv(self) -> Any:
        if not self._orders:
            raise EOFError
        return self._orders.pop(0)

    @property
    def said(self) -> list[Any]:
        return [message for message in self._sent if not isinstance(message, Beat)]


class Recorder:
    """In place of the link to a coordinator."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def ask(self, message: Any) -> bool:
        self.asked.append(message)
        return isinstance(message, Built)


@pytest.fixture(scope="module")
def make_trainer(small_data: Path) -> Callable[..., KerasTrainer]:
    def make(precision: Precision = "float32", space: str = "mlp") -> KerasTrainer:
        settings = WorkerSettings(
            space=space,
            load_split=partial(load_split, open_dataset(str(small_data)), SplitSizes(val=100)),
            precision=precision,
        )
        return KerasTrainer(Recorder(), settings)  # type: ignore[arg-type]

    return make


def order(**changes: Any) -> Train:
    given: dict[str, Any] = {
        "number": None,
        "seed": 3,
        "max_epochs": 2,
        "epochs": 2,
        "params": MlpConfig.from_params({}).params(),
        "keep_model": True,
    }
    return Train(**(given | changes))


def saved(trained: Trained | Failed, folder: Path) -> Model:
    assert isinstance(trained, Trained) and trained.model is not None, trained
    (folder / "model.keras").write_bytes(trained.model)
    set_precision("float32")  # as in a process that predicts
    return load_model(folder / "model.keras", DataShape((28, 28, 1), 10))


def test_a_kept_model_predicts_as_it_was_validated(
    make_trainer: Callable[..., KerasTrainer], small_data: Path, tmp_path: Path
) -> None:
    trainer = make_trainer()
    trained = trainer.run(order())
    built, *epochs = trainer._link.asked  # type: ignore[attr-defined]
    split = load_split(open_dataset(str(small_data)), SplitSizes(val=100))
    probabilities = saved(trained, tmp_path).probabilities(split.val_images)
    accuracy = np.mean(probabilities.argmax(axis=1) == split.val_labels)
    assert epochs[-1].metrics["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert [epoch.number for epoch in epochs] == [1, 2]
    assert built.parameters > 0
    assert isinstance(trained, Trained)
    assert trained.cpu_seconds > 0
    assert trained.curve_png == b""


def test_a_trial_has_a_learning_curve_and_no_model(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    trained = make_trainer().run(order(number=7, keep_model=False))
    assert isinstance(trained, Trained)
    assert trained.curve_png.startswith(b"\x89PNG")
    assert trained.model is None


def test_training_on_all_images_leaves_none_to_validate_on(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    trainer = make_trainer()
    assert isinstance(trainer.run(order(images=Images.ALL)), Trained)
    epochs = [one for one in trainer._link.asked if isinstance(one, Epoch)]  # type: ignore[attr-defined]
    assert all("val_accuracy" not in epoch.metrics for epoch in epochs)


def teacher() -> bytes:
    import keras

    from search.training.saving import save_model

    pixels = keras.Input((28, 28, 1))
    outputs = keras.layers.Dense(10, "softmax", kernel_initializer="zeros")(
        keras.layers.Flatten()(pixels)
    )
    return save_model(keras.Model(pixels, outputs), DataShape((28, 28, 1), 10))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_retraining_with_teachers_learns_all_images_from_them(
    make_trainer: Callable[..., KerasTrainer], precision: Precision, tmp_path: Path
) -> None:
    given = order(images=Images.ALL, teachers=(teacher(),), max_epochs=8, epochs=8)
    trained = make_trainer(precision).run(given)
    images = np.random.default_rng(0).integers(0, 60, (50, 28, 28, 1), dtype=np.uint8)
    # The teacher tells no class from another: half of each target is a twentieth of every class.
    assert saved(trained, tmp_path).probabilities(images).min() > 0.005


def test_a_fit_of_the_space_cannot_take_teachers(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    given = order(params={"units": 4, "batch_size": 64}, teachers=(b"unread",))
    failed = make_trainer(space=f"{__name__}:TrainsItself").run(given)
    assert isinstance(failed, Failed)
    assert failed.reason == (
        "the space has a fit() of its own, which takes labels, so its model cannot be distilled; "
        "leave --distill out"
    )


def test_a_model_trained_in_bfloat16_is_kept_in_float32(
    make_trainer: Callable[..., KerasTrainer], tmp_path: Path
) -> None:
    model = saved(make_trainer("bfloat16").run(order()), tmp_path).keras_model
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_a_gpu_that_tensorflow_cannot_use_is_refused(
    make_trainer: Callable[..., KerasTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.workers.keras_trainer.visible_gpus", lambda: ["0"])
    with pytest.raises(
        SearchError,
        match=r"^TensorFlow finds no GPU on .+, which has one\. Install its CUDA libraries, "
        r".* install \"tensorflow\[and-cuda\]==2.*\", or set CUDA_VISIBLE_DEVICES=-1 in the",
    ):
        make_trainer()


def test_a_configuration_that_cannot_be_built_fails_with_its_reason(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    failed = make_trainer().run(order(params={}))
    assert isinstance(failed, Failed)
    assert failed.reason == (
        "the space asks for 'dense_layers', for which the trial has no value: the space has "
        "changed since the search. Restore the earlier version, or start another study"
    )


def test_an_error_of_keras_is_a_reason_without_the_arguments_of_the_call(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    failed = make_trainer(space=f"{__name__}:TooSmall").run(order())
    assert isinstance(failed, Failed)
    assert failed.reason.startswith(
        "ValueError: Exception encountered when calling MaxPooling2D.call(). "
        "Computed output size would be zero or negative."
    )
    assert "Arguments" not in failed.reason
    assert "Arguments received by" in failed.traceback


def test_an_exit_in_build_is_a_failed_trial_with_its_words(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    failed = make_trainer(space=f"{__name__}:exits").run(order())
    assert isinstance(failed, Failed)
    assert failed.reason == "SystemExit: no data"


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ("loses_its_download", "ConnectionResetError: the download broke off"),
        ("reads_a_truncated_file", "EOFError: the file is truncated"),
        (
            "names_one_twice",
            "hyperparameter 'units' is defined under two conditions; give it two names",
        ),
    ],
)
def test_an_error_in_build_fails_the_trial_and_not_the_worker(
    make_trainer: Callable[..., KerasTrainer], space: str, reason: str
) -> None:
    known = order(params={"kind": "a", "units": 1})
    channel = Channel(known, known)
    trainer = make_trainer(space=f"{__name__}:{space}")
    serve(channel, None, lambda link, settings: trainer, beat_seconds=1e6)  # type: ignore[arg-type]
    ready, *failed = channel.said
    assert ready == Ready()
    assert [trial.reason for trial in failed] == [reason] * 2


def test_a_coordinator_that_goes_away_in_a_trial_ends_the_worker(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    def make(link: Link, settings: None) -> KerasTrainer:
        trainer = make_trainer()
        trainer._link = link
        return trainer

    channel = Channel(order(params=None))
    serve(channel, None, make, beat_seconds=1e6)  # type: ignore[arg-type]
    asked = channel.said[-1]
    assert isinstance(asked, Suggest)


def test_a_build_that_returns_nothing_ends_the_worker_with_one_line(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    channel = Channel(order())
    trainer = make_trainer(space=f"{__name__}:returns_nothing")
    serve(channel, None, lambda link, settings: trainer, beat_seconds=1e6)  # type: ignore[arg-type]
    assert channel.said == [
        Ready(),
        Unusable(
            "build(hp) returned None; it must return a keras.Model. Correct it, then run the same "
            "command again."
        ),
    ]


def test_a_model_whose_input_has_no_channels_is_kept_and_used(
    make_trainer: Callable[..., KerasTrainer], small_data: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(space=f"{__name__}:without_channels")
    model = saved(trainer.run(order()), tmp_path)
    split = load_split(open_dataset(str(small_data)), SplitSizes(val=100))
    accuracy = np.mean(model.probabilities(split.val_images).argmax(axis=1) == split.val_labels)
    last = trainer._link.asked[-1]  # type: ignore[attr-defined]
    assert last.metrics["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_a_model_that_a_report_cannot_use_is_refused_before_it_is_trained(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    trainer = make_trainer(space=f"{__name__}:has_a_lambda")
    failed = trainer.run(order())
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("a report cannot use the model: ")
    assert "`Lambda`" in failed.reason
    assert not trainer._link.asked  # type: ignore[attr-defined]


def test_a_search_says_at_its_first_trial_that_a_report_cannot_use_the_model(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    trainer = make_trainer(space=f"{__name__}:has_a_lambda")
    for _ in range(2):
        assert isinstance(trainer.run(order(number=0, keep_model=False)), Trained)
    asked = trainer._link.asked  # type: ignore[attr-defined]
    first, second = [message.unusable for message in asked if isinstance(message, Built)]
    assert first.startswith("a report cannot use the model: ")
    assert not second


def test_a_session_that_build_clears_trains_in_the_format_that_was_asked_for(
    make_trainer: Callable[..., KerasTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from search.training import loop

    formats = []

    def train(model: Any, *given: Any, **more: Any) -> Any:
        formats.append({layer.compute_dtype for layer in model.layers[1:]})
        return stock(model, *given, **more)

    stock = loop.train
    monkeypatch.setattr(loop, "train", train)
    trained = make_trainer("bfloat16", f"{__name__}:clears").run(order(keep_model=False))
    assert isinstance(trained, Trained), trained
    assert formats == [{"bfloat16"}]


def test_a_layer_that_lives_from_trial_to_trial_is_refused(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    trainer = make_trainer(space=f"{__name__}:Carries")
    failed = [trainer.run(order(keep_model=False)) for _ in range(2)][-1]
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("the model shares the weights of layer 'carried' with")
    retrained = make_trainer(space=f"{__name__}:Carries").run(order())
    assert isinstance(retrained, Failed)
    assert "shares the weights of layer 'carried'" in retrained.reason


@pytest.mark.parametrize("space", ["mlp", f"{__name__}:TrainsItself", f"{__name__}:clears"])
def test_a_measurement_trains_the_default_and_leaves_the_trials_as_they_are(
    make_trainer: Callable[..., KerasTrainer], space: str
) -> None:
    plain, measured = make_trainer(space=space), make_trainer(space=space)
    speed = measured.measure(Measure(0.2))
    assert isinstance(speed, Measured), speed
    assert speed.images_per_second > 0
    assert speed.startup_seconds >= 0
    assert not measured._link.asked  # type: ignore[attr-defined]
    params = MlpConfig.from_params({}).params() | {"units": 5, "batch_size": 64}
    for trainer in (plain, measured):
        assert isinstance(trainer.run(order(params=params, keep_model=False)), Trained)
    plain_epochs, epochs = (
        [one.metrics["val_accuracy"] for one in trainer._link.asked if isinstance(one, Epoch)]  # type: ignore[attr-defined]
        for trainer in (plain, measured)
    )
    assert epochs == plain_epochs


@pytest.mark.parametrize("breaks", [False, True])
def test_a_user_s_space_is_measured_with_a_random_configuration(
    make_trainer: Callable[..., KerasTrainer], monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    asked: list[int] = []

    def build(hp: Any) -> Any:
        asked.append(hp.Int("units", 1, 1_000))
        if breaks and asked[-1] > 1:
            raise ValueError("too large")
        return small_net()

    monkeypatch.setattr(sys.modules[__name__], "wide", build, raising=False)
    trainer = make_trainer(space=f"{__name__}:wide")
    for seed in (0, 0, 1):
        assert isinstance(trainer.measure(Measure(0.01, seed=seed)), Measured)
    if breaks:  # the default can be trained
        assert asked[1::2] == [1, 1, 1]
    else:
        assert asked[0] == asked[1] != asked[2]
        assert min(asked) > 1


@pytest.mark.parametrize("gpus", [0, 1])
def test_what_loads_the_libraries_of_a_gpu_is_not_measured(
    make_trainer: Callable[..., KerasTrainer], monkeypatch: pytest.MonkeyPatch, gpus: int
) -> None:
    import tensorflow as tf

    built: list[int] = []

    def build(hp: Any) -> Any:
        built.append(hp.Int("units", 1, 1_000))
        return small_net()

    monkeypatch.setattr(sys.modules[__name__], "counted", build, raising=False)
    trainer = make_trainer(space=f"{__name__}:counted")
    stock = tf.config.list_physical_devices
    monkeypatch.setattr(
        tf.config,
        "list_physical_devices",
        lambda kind=None: ["a GPU"] * gpus if kind == "GPU" else stock(kind),
    )
    assert isinstance(trainer.measure(Measure(0.01)), Measured)
    assert len(built) == 1 + gpus


def test_a_configuration_that_fails_fails_its_measurement(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    failed = make_trainer(space=f"{__name__}:exits").measure(Measure(0.2))
    assert isinstance(failed, Failed)
    assert failed.reason == "SystemExit: no data"


def test_a_layer_that_a_measurement_has_trained_is_refused(
    make_trainer: Callable[..., KerasTrainer],
) -> None:
    trainer = make_trainer(space=f"{__name__}:Carries")
    assert isinstance(trainer.measure(Measure(0.2)), Measured)
    failed = trainer.run(order(keep_model=False))
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("the model shares the weights of layer 'carried' with")
