"""Models of a user's own: what is known before training, and what is refused by name."""

from typing import Any

import keras
import numpy as np
import pytest

from search.errors import SearchError
from search.training.building import WeightOwnership, ask_space, build_for_training
from search.training.hyperparameters import TrialHyperParameters
from spaces import DataShape, FunctionSpace, SpaceError
from spaces.training import TrainingConfig

IMAGE = (28, 28, 1)
DATA = DataShape(IMAGE, 10)


class Net(keras.Model):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(classes)])

    def call(self, inputs: Any) -> Any:
        return self.network(inputs)


class TwoOutputs(Net):
    def call(self, inputs: Any) -> Any:
        return self.network(inputs), self.network(inputs)


class InADict(Net):
    def call(self, inputs: Any) -> Any:
        return {"label": self.network(inputs)}


def flat(shape: tuple[int, ...], classes: int = 10) -> keras.Model:
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Flatten()(inputs)))


def branches() -> keras.Model:
    inputs = keras.Input(IMAGE)
    flattened = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(10)(flattened) for _ in range(2)])


def build(made: Any, fit: Any = None) -> keras.Model:
    space: Any = FunctionSpace(lambda hp: made)
    if fit is not None:
        space = type("Space", (), {"build": lambda self, hp: made, "fit": fit})()
    return build_for_training(space, TrialHyperParameters(lambda *_: None), DATA)[0]


@pytest.mark.parametrize(
    "make",
    [
        Net,
        lambda: keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)]),
        lambda: flat(IMAGE),
        lambda: flat((28, 28)),
        lambda: keras.Model([inputs := keras.Input(IMAGE)], [flat(IMAGE)(inputs)]),
    ],
)
def test_every_kind_of_model_has_its_weights_and_takes_any_number_of_images(make: Any) -> None:
    model = build(make())
    assert model.count_params() == 7850
    for count in (1, 3):
        assert model(np.zeros((count, *IMAGE))).shape == (count, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Net(12), r"output has the shape \(None, 12\).* has 10 classes.* of 10 units"),
        (lambda: flat(IMAGE, classes=9), r"output has the shape \(None, 9\)"),
        (
            lambda: keras.Sequential([keras.Input(IMAGE), keras.layers.Dense(10)]),
            r"output has the shape \(None, 28, 28, 10\)",
        ),
        (TwoOutputs, "returns a tuple of 2 outputs; it must return one tensor"),
        (branches, "returns a list of 2 outputs; it must return one tensor"),
        (InADict, "returns a dict of 1 outputs; it must return one tensor"),
    ],
)
def test_an_output_that_does_not_fit_the_classes_is_refused(make: Any, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        build(make())


def test_a_model_that_its_space_trains_may_have_any_output() -> None:
    assert build(branches(), fit=lambda *_, **given: None).count_params() == 2 * 7850
    assert build(Net(12), fit=lambda *_, **given: None).count_params() == 12 * 785


def test_a_fit_that_is_no_method_or_takes_other_arguments() -> None:
    with pytest.raises(SearchError, match=r"shape \(None, 12\)"):  # as without it
        build(Net(12), fit=True)
    with pytest.raises(SpaceError, match=r"^fit of Space cannot be called as KerasTuner does"):
        build(Net(), fit=lambda self, x, y: None)


@pytest.mark.parametrize(
    ("made", "found"), [(None, "None"), ((1, 2), "an object of class tuple"), (Net, "class type")]
)
def test_what_is_no_model_is_refused_for_the_whole_search(made: Any, found: str) -> None:
    with pytest.raises(SpaceError, match=rf"build\(hp\) returned .*{found}; it must return a ker"):
        build(made)


@pytest.mark.parametrize(
    "training", [True, lambda self, x, y: None, lambda self, hp: "how", lambda self: None]
)
def test_what_a_class_has_under_the_name_training_is_no_training_configuration(
    training: Any,
) -> None:
    made = {"build": lambda self, hp: flat(IMAGE), "training": training}
    space: Any = type("Space", (), made)()
    assert ask_space(space, TrialHyperParameters(lambda *_: None))[1] is None
    space.training = lambda hp: TrainingConfig(batch_size=64)
    found = ask_space(space, TrialHyperParameters(lambda *_: None))[1]
    assert found == TrainingConfig(batch_size=64)


def sharing(layer: keras.layers.Layer) -> keras.Model:
    inputs = keras.Input(IMAGE)
    shared = layer(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(10)(shared))


def test_weights_of_an_earlier_trial_are_refused_with_their_layer() -> None:
    weights = WeightOwnership()
    layer = keras.layers.Dense(4, name="carried")
    weights.claim(sharing(layer))
    with pytest.raises(SearchError, match=r"layer 'carried'.* inside build\(hp\), not in __init__"):
        weights.claim(sharing(layer))


def test_new_weights_are_accepted_also_where_old_ones_are_gone() -> None:
    weights = WeightOwnership()
    for _ in range(20):
        weights.claim(sharing(keras.layers.Dense(4)))


def test_layers_that_are_never_trained_may_be_shared() -> None:
    weights = WeightOwnership()
    layer = keras.layers.Dense(4, trainable=False)
    for _ in range(2):
        weights.claim(sharing(layer))


@pytest.mark.parametrize("trained_in", ["the first trial", "the second trial"])
def test_shared_layers_that_one_trial_trains_are_refused(trained_in: str) -> None:
    weights = WeightOwnership()
    layer = keras.layers.Dense(4)
    layer.trainable = trained_in == "the first trial"
    weights.claim(sharing(layer))
    layer.trainable = not layer.trainable
    with pytest.raises(SearchError, match="shares the weights"):
        weights.claim(sharing(layer))
