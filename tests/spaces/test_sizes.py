"""The `cnn` space for images of any size: how it adapts, and what it costs."""

import math
from dataclasses import fields, replace
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from search.data.dataset import pixel_statistics
from search.data.split import Split
from search.training.loop import Ending, train
from spaces import (
    DataShape,
    PixelStatistics,
    SpaceError,
    first_configurations,
    published_configurations,
)
from spaces.cnn import CnnConfig, CnnSpace
from spaces.cnn_model import build_model
from spaces.mlp import MlpSpace
from tests.spaces.random_params import random_params

SIZES = (16, 20, 27, 28, 32, 47, 48, 64, 96, 111, 112, 128, 224)


def pixels_of(channels: int) -> PixelStatistics:
    square = 4 * channels
    patches = np.eye(square) * 0.05 + 0.05
    return PixelStatistics(
        (0.3,) * channels, (0.3,) * channels, tuple(map(tuple, patches.tolist()))
    )


DATA = [
    DataShape(
        (size, size, 3 if index % 2 else 1),
        classes,
        mirror,
        pixels_of(3 if index % 2 else 1) if index % 3 else None,
    )
    for index, (size, classes, mirror) in enumerate(
        zip(SIZES, (2, 10, 200, 5) * 4, (None, True, False) * 5, strict=False)
    )
]
NAMES = [f"{data.image_shape[0]}x{data.image_shape[2]}" for data in DATA]
every_size = pytest.mark.parametrize("data", DATA, ids=NAMES)


def space_of(data: DataShape, kind: type = CnnSpace) -> Any:
    return kind(**{part.name: getattr(data, part.name) for part in fields(data)})


def shape_of_last_maps(config: CnnConfig, data: DataShape) -> tuple[int, ...]:
    """The smallest maps of a network; also shows that none vanishes."""
    model = build_model(config, data.image_shape, data.classes, data.pixels)
    assert model.input_shape == (None, *data.image_shape)
    assert model.output_shape == (None, data.classes)
    maps = [layer.output.shape[1:3] for layer in model.layers if len(layer.output.shape) == 4]
    return min(maps)


def multiply_adds(config: CnnConfig, data: DataShape) -> int:
    model = build_model(config, data.image_shape, data.classes, data.pixels)
    return sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    )


@every_size
def test_the_default_has_small_last_maps_and_is_affordable(data: DataShape) -> None:
    default = space_of(data).default
    height, width = shape_of_last_maps(default, data)
    assert 3 <= height == width <= 7
    # For each pixel about as much as with 28 pixels, or less.
    assert multiply_adds(default, data) < max(13e6, 15e3 * math.prod(data.image_shape[:2]))
    assert multiply_adds(default, data) < 300e6


@every_size
def test_every_recipe_is_a_point_of_the_space_and_builds(data: DataShape) -> None:
    space = space_of(data)
    assert {"default", "small", "wide", "adamw"} <= space.portfolio.keys()
    assert len({str(config) for config in space.portfolio.values()}) == len(space.portfolio)
    for config in space.portfolio.values():
        assert CnnConfig.from_params(config.params(data), data) == config
        assert space.describe(config.params()) == config.describe()
        assert min(shape_of_last_maps(config, data)) >= 1


@every_size
def test_random_points_build_and_are_read_without_the_size(data: DataShape) -> None:
    space = space_of(data)
    points = random_params(lambda hp: CnnConfig.sample(hp, data), 8, seed=2)
    for values in points:
        config = CnnConfig.from_params(values)
        assert config.params(data) == values
        assert space.describe(values) == config.describe()
        assert min(shape_of_last_maps(config, data)) >= (2 if data.image_shape[0] < 28 else 1)


def test_random_points_of_large_images_are_affordable() -> None:
    data = DataShape((224, 224, 3), 10)
    points = random_params(lambda hp: CnnConfig.sample(hp, data), 8, seed=3)
    assert max(multiply_adds(CnnConfig.from_params(values), data) for values in points) < 1.8e9


@pytest.mark.parametrize(
    ("size", "blocks"),
    [(16, (2, 3)), (27, (2, 3)), (28, (2, 4)), (47, (2, 4)), (48, (3, 5)), (112, (4, 6))],
)
def test_larger_images_have_more_blocks(size: int, blocks: tuple[int, int]) -> None:
    data = DataShape((size, size, 1), 10)
    for count in range(8):
        inside = blocks[0] <= count <= blocks[1]
        params = {"blocks": count, "pool_3": "max", "pool_4": "max"}
        params |= {"filters_3": 64} if count == 3 else {}
        params = {k: v for k, v in params.items() if k == "blocks" or int(k[-1]) <= count}
        if inside or count < 2:  # fewer than 2 are read, and never sampled
            params = params if count else {"blocks": 0, "head_dropout": 0.0}
            assert len(CnnConfig.from_params(params, data).blocks) == count
        else:
            with pytest.raises(ValueError, match=rf"blocks is {count}; .* in {blocks[0]}\.\."):
                CnnConfig.from_params(params, data)


@pytest.mark.parametrize(
    "image_shape", [(15, 64, 3), (64, 225, 3), (64, 64, 2), (64, 64, 4), (28, 8, 1)]
)
def test_other_images_are_refused_in_one_line(image_shape: tuple[int, int, int]) -> None:
    with pytest.raises(SpaceError, match=r"16 to 224 pixels .* 1 or 3 channels; these") as caught:
        first_configurations("cnn", DataShape(image_shape, 10))
    assert str(image_shape) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_published_systems_are_offered_for_images_of_their_shape_only() -> None:
    for name, count in (("cnn", 6), ("mlp", 1)):
        fits = DataShape((28, 28, 1), 26, mirror=False)
        assert len(published_configurations(name, fits)) == count
        for shape in ((28, 28, 3), (32, 32, 1)):
            assert not published_configurations(name, DataShape(shape, 10))


def test_where_mirroring_makes_no_sense_no_recipe_does_it() -> None:
    kinds = {
        mirror: [
            config.training.augmentation
            for config in space_of(DataShape((28, 28, 1), 10, mirror)).portfolio.values()
        ]
        for mirror in (True, False, None)
    }
    assert not [kind for kind in kinds[False] if "flip" in kind]
    assert "shift" in kinds[False]
    assert kinds[True].count("none") == 0
    assert kinds[None] == ["flip", "none", *kinds[True][1:]]


@pytest.mark.parametrize("space_class", [CnnSpace, MlpSpace])
@pytest.mark.parametrize(
    "data", [DataShape((20, 24, 3), 3), DataShape((64, 48, 1), 12, mirror=False)]
)
def test_the_default_trains(space_class: type, data: DataShape) -> None:
    space = space_of(data, space_class)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (48, *data.image_shape), dtype=np.uint8)
    labels = np.arange(48, dtype=np.uint8) % data.classes
    split = Split(
        train_images=images,
        train_labels=labels,
        val_images=images,
        val_labels=labels,
        classes=data.classes,
        mirror=data.mirror,
    )
    assert split.shape == data
    model = space.build(_hyperparameters(space))
    result = train(
        model,
        space.default.training,
        split,
        max_epochs=1,
        seed=0,
        on_epoch=lambda epoch, entry: False,
    )
    assert result.ended is Ending.COMPLETE


def _hyperparameters(space: CnnSpace | MlpSpace) -> object:
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.values = dict(space.default.params())
    return hp


def test_networks_are_whitened_where_patches_are_known() -> None:
    pixels = pixels_of(1)
    data = DataShape((28, 28, 1), 10, True, replace(pixels, normalized=False))
    assert space_of(data).default.whitened
    assert all(config.whitened for config in space_of(data).portfolio.values())
    assert not any(config.whitened for config in space_of(data).baselines.values())
    unknown = replace(data, pixels=replace(pixels, patches=None))
    assert not space_of(unknown).default.whitened
    assert "whitened" not in space_of(unknown).default.params(unknown)
    with pytest.raises(ValueError, match="whitened is True, but it is not a hyperparameter"):
        CnnConfig.from_params({"whitened": True}, unknown)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("normalized", [True, False])
def test_whitened_patches_have_no_covariance(channels: int, normalized: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 16, 16, channels), np.uint8)
    images[:, 1:] = images[:, 1:] // 2 + images[:, :-1] // 2  # neighbours are alike
    pixels = replace(pixel_statistics(images), normalized=normalized)
    space = CnnSpace(image_shape=(16, 16, channels), classes=3, pixels=pixels)
    model = space.build(keras_tuner.HyperParameters())
    layer = model.get_layer("whitening")
    assert not layer.trainable
    maps = np.array(keras.Model(model.input, layer.output)(images / np.float32(255)))
    half = 4 * channels
    maps = maps[:, :-1, :-1]  # without the padded edges
    np.testing.assert_allclose(maps[..., :half], -maps[..., half:], atol=1e-5)
    covariance = np.cov(maps[..., :half].reshape(-1, half), rowvar=False)
    np.testing.assert_allclose(covariance, np.eye(half), atol=0.1)


@pytest.mark.parametrize("kind", [CnnSpace, MlpSpace])
def test_networks_normalize_by_the_pixels_of_the_data(kind: type[CnnSpace | MlpSpace]) -> None:
    pixels = PixelStatistics((0.2, 0.4, 0.0), (0.1, 0.2, 0.0))
    space = kind(image_shape=(20, 20, 3), classes=5, pixels=pixels)
    model = space.build(keras_tuner.HyperParameters())
    plain = kind(image_shape=(20, 20, 3), classes=5).build(keras_tuner.HyperParameters())
    assert model.count_params() == plain.count_params()
    images = np.random.default_rng(0).random((4, 20, 20, 3), np.float32)
    normalized = keras.Model(model.input, model.get_layer("normalization").output)
    images[..., 2] = 0  # a channel without deviation
    expected = (images - [0.2, 0.4, 0]) / [0.1, 0.2, 1]
    np.testing.assert_allclose(normalized(images), expected, atol=1e-5)
