"""Real test images in pictures with frames, pages, shades and captions are classified as before."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from predicting.images import ImageWarning, load_image
from predicting.model import Model, load_model
from reporting.scoring import load_test_split
from search.data.dataset import LabeledImages
from search.data.formats import open_dataset
from search.errors import DataError
from spaces import DataShape

pytestmark = pytest.mark.xdist_group("framing")  # the model is loaded once

MODEL = Path(__file__).parents[2] / "results" / "reference" / "cnn" / "report" / "best_model.keras"
COUNT = 50
# The standard error of a difference between two accuracies near 0.93 of the same 50 images.
POINTS = 0.05


@pytest.fixture(scope="module")
def test_images() -> LabeledImages:
    try:
        split = load_test_split(open_dataset(None))
    except DataError as error:
        pytest.skip(str(error))
    return split[:COUNT]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(MODEL, DataShape((28, 28, 1), 10))


def photograph(pixels: np.ndarray, light: bool) -> Image.Image:
    """Enlarge an image and place it, off-centre, on a larger background of 20 or 235."""
    canvas = Image.new("L", (200, 230))
    canvas.paste(
        Image.fromarray(pixels[..., 0]).resize((140, 140), Image.Resampling.BICUBIC), (25, 35)
    )
    shares = np.asarray(canvas) / 255
    return Image.fromarray((20 + 215 * (1 - shares if light else shares)).round().astype(np.uint8))


def bordered(
    image: Image.Image, color: int, left: int, top: int, right: int, bottom: int
) -> Image.Image:
    size = image.width + left + right, image.height + top + bottom
    result = Image.new("L", size, color)
    result.paste(image, (left, top))
    return result


def framed(image: Image.Image, color: int, width: int) -> Image.Image:
    return bordered(image, color, width, width, width, width)


def written(image: Image.Image, place: tuple[int, int], text: str, size: int = 14) -> Image.Image:
    image = image.copy()
    ink = 0 if image.getpixel(place) > 127 else 255
    ImageDraw.Draw(image).text(place, text, fill=ink, font=ImageFont.load_default(size))
    return image


def shaded(
    image: Image.Image, shade: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Image.Image:
    """Multiply by a function of x and y, which are in [-1, 1]."""
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    return Image.fromarray((np.asarray(image) * shade(x, y)).round().astype(np.uint8))


def vignette(image: Image.Image) -> Image.Image:
    return shaded(image, lambda x, y: 1 / (1 + 0.35 * (x**2 + y**2)) ** 2)


def noisy(image: Image.Image, deviation: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, deviation, (image.height, image.width))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).round().astype(np.uint8))


def page(image: Image.Image) -> Image.Image:
    result = bordered(image, 255, 50, 90, 130, 150)
    for line in range(4):
        result = written(result, (40, 10 + 18 * line), "Lorem ipsum dolor sit amet, consectetur")
        result = written(result, (40, 335 + 18 * line), "sed do eiusmod tempor incididunt ut lab")
    return result


# `other` is black for a light photograph, white for a dark one.
TREATMENTS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "frame of 1 pixel": lambda image, other: framed(image, other, 1),
    "grey frame of 1 pixel": lambda image, other: framed(image, 128, 1),
    "frame": lambda image, other: framed(image, other, 15),
    "frame hardly different": lambda image, other: framed(image, 255 - other, 15),
    "frame and mat": lambda image, other: framed(framed(image, 255 - other, 20), other, 5),
    "large frame of 2 pixels": lambda image, other: framed(
        image.resize((1600, 1840), Image.Resampling.BICUBIC), other, 2
    ),
    "bars at top and bottom": lambda image, other: bordered(image, other, 0, 40, 0, 40),
    "bars at the sides": lambda image, other: bordered(image, other, 150, 0, 150, 0),
    "screenshot": lambda image, other: written(
        bordered(image, other, 0, 30, 0, 0), (8, 7), "12:34                   87 %", 12
    ),
    "page": lambda image, other: page(image),
    "instant photograph": lambda image, other: written(
        bordered(image, other, 12, 12, 12, 50), (30, 255), "summer in the city", 16
    ),
    "vignette": lambda image, other: vignette(image),
    "shadow on one side": lambda image, other: shaded(image, lambda x, y: 0.75 + 0.25 * x),
    "edge of a shadow": lambda image, other: shaded(
        image, lambda x, y: 1 - 0.5 / (1 + np.exp(7 * x + 3))
    ),
    "caption": lambda image, other: written(image, (25, 200), "Item 4711 - 29.90 EUR"),
    "watermark": lambda image, other: written(image, (130, 212), "(c) shop", 11),
    "noise": lambda image, other: noisy(image, 6),
    "all at once": lambda image, other: framed(
        vignette(written(image, (25, 200), "Item 4711")), other, 8
    ),
}


def accuracy(
    model: Model,
    split: LabeledImages,
    path: Path,
    treat: Callable[[Image.Image, int], Image.Image],
    light: bool,
) -> float:
    found = []
    for pixels in split.images:
        treat(photograph(pixels, light), 0 if light else 255).save(path, compress_level=1)
        found.append(load_image(path))
    classes = model.probabilities(np.array(found)).argmax(axis=1)
    return float((classes == split.labels).mean())


@pytest.fixture(scope="module", params=[True, False], ids=["light", "dark"])
def light(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def plain(
    model: Model, test_images: LabeledImages, light: bool, tmp_path_factory: pytest.TempPathFactory
) -> float:
    path = tmp_path_factory.mktemp("plain") / "a.png"
    return accuracy(model, test_images, path, lambda image, other: image, light)


def test_photographs_are_classified_like_the_images_in_them(
    model: Model, test_images: LabeledImages, plain: float
) -> None:
    classes = model.probabilities(test_images.images).argmax(axis=1)
    assert plain >= (classes == test_images.labels).mean() - POINTS


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_what_surrounds_an_object_does_not_change_its_class(
    model: Model,
    test_images: LabeledImages,
    plain: float,
    light: bool,
    treatment: str,
    tmp_path: Path,
) -> None:
    treat = TREATMENTS[treatment]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        found = accuracy(model, test_images, tmp_path / "a.png", treat, light)
    assert found >= plain - POINTS
    assert len(caught) <= POINTS * COUNT


def test_the_data_sets_own_images_are_only_inverted(
    tmp_path: Path, test_images: LabeledImages
) -> None:
    for pixels in test_images.images:
        Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png")
        border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
        expected = 255 - pixels if np.median(border) > 127 else pixels
        np.testing.assert_array_equal(load_image(tmp_path / "a.png"), expected)


def test_a_rectangle_with_round_corners_is_an_object_and_not_a_picture(tmp_path: Path) -> None:
    image = Image.new("L", (200, 200), 235)
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((40, 60, 160, 150), radius=12, fill=60)
    draw.ellipse((90, 95, 110, 115), fill=150)
    image.save(tmp_path / "a.png")
    with pytest.warns(ImageWarning):
        loaded = load_image(tmp_path / "a.png")
    assert loaded[8:20, 2:8].min() > 200
    assert 70 < loaded[14, 14, 0] < 150


def test_a_textured_background_is_warned_of(tmp_path: Path, test_images: LabeledImages) -> None:
    texture = np.random.default_rng(0).integers(0, 255, (23, 20), np.uint8)
    wood = Image.fromarray(texture).resize((200, 230), Image.Resampling.BICUBIC)
    image = Image.blend(photograph(test_images.images[0], light=True), wood, 0.6)
    image.save(tmp_path / "a.png")
    with pytest.warns(ImageWarning, match="or has no plain background around it"):
        load_image(tmp_path / "a.png")


def test_an_object_that_fills_its_box_is_warned_of(tmp_path: Path) -> None:
    image = Image.new("L", (200, 230), 235)
    image.paste(40, (30, 40, 150, 200))
    image.save(tmp_path / "a.png")
    with pytest.warns(ImageWarning, match="the object fills its box"):
        load_image(tmp_path / "a.png")
