"""Image files of all kinds become 28x28 bright objects on black; broken ones one-line errors."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from predicting.config import ModelConfig
from predicting.images import ImageError, ImageWarning
from predicting.images import load_image as load
from search.data import pictures
from search.data.dataset import Bytes

DARK, LIGHT = 20, 240
# What JPEG and WebP do to a hard edge, in the mean over all pixels; a mistake makes it 50 or more.
LOSS = 15


def load_image(path: str | Path) -> Bytes:
    """As for Fashion-MNIST, without the channel axis."""
    loaded = load(path)
    assert loaded.shape == (28, 28, 1)
    return loaded[..., 0]


def shape_on(ground: int, shape: int, size: tuple[int, int] = (120, 200)) -> Image.Image:
    """An L of 60x100 pixels, off-centre: its lower right quarter is ground."""
    image = Image.new("L", size, ground)
    image.paste(shape, (10, 20, 70, 120))
    image.paste(ground, (40, 70, 70, 120))
    return image


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.fixture
def expected(tmp_path: Path) -> np.ndarray:
    return load_image(saved(shape_on(0, 255), tmp_path / "expected.png"))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def test_a_small_grey_picture_on_dark_ground_is_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 100, (28, 28), dtype=np.uint8)
    loaded = load_image(saved(Image.fromarray(pixels), tmp_path / "a.png"))
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, pixels)
    inverted = load_image(str(saved(Image.fromarray(255 - pixels), tmp_path / "b.png")))
    np.testing.assert_array_equal(inverted, pixels)


def test_the_object_fills_the_longest_edge_and_is_centred(expected: np.ndarray) -> None:
    assert expected.shape == (28, 28)
    rows, columns = np.flatnonzero(expected.any(axis=1)), np.flatnonzero(expected.any(axis=0))
    assert (rows[0], rows[-1]) == (0, 27)  # 100 high becomes 28, 60 wide becomes 17
    assert len(columns) == 17
    assert abs((columns[0] + columns[-1]) / 2 - 13.5) <= 0.5
    assert expected[0, 0] == 0
    assert expected[5, 10] == expected.max() == 255
    assert expected[25, 20] == 0


@pytest.mark.parametrize(
    ("ground", "shape"),
    [(LIGHT, DARK), (DARK, LIGHT), (255, 200), (0, 60), (150, 250), (100, 10)],
)
def test_background_and_contrast_make_no_difference(
    tmp_path: Path, expected: np.ndarray, ground: int, shape: int
) -> None:
    loaded = load_image(saved(shape_on(ground, shape), tmp_path / "a.png"))
    assert difference(loaded, expected) < 1


def test_a_glint_does_not_darken_the_object(tmp_path: Path, expected: np.ndarray) -> None:
    image = shape_on(0, 100)
    image.paste(255, (30, 60, 32, 62))
    assert difference(load_image(saved(image, tmp_path / "a.png")), expected) < 1


def test_black_on_nearly_black_shows_nothing(tmp_path: Path) -> None:
    # A ground below 64 is dark for certain: what is darker still is shadow.
    with pytest.raises(ImageError, match="shows no object"):
        load_image(saved(shape_on(60, 0), tmp_path / "a.png"))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.gif", "a.webp", "a.tif", "a.avif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_formats_and_colours(tmp_path: Path, expected: np.ndarray, name: str, mode: str) -> None:
    loaded = load_image(saved(shape_on(LIGHT, DARK).convert(mode), tmp_path / name))
    assert difference(loaded, expected) < LOSS


@pytest.mark.parametrize("mode", ["P", "1", "CMYK", "I;16", "F"])
def test_rare_modes(tmp_path: Path, expected: np.ndarray, mode: str) -> None:
    image = shape_on(255, 0)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 200)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image, np.float32) / 255)
    else:
        image = image.convert(mode)
    suffix = {"CMYK": "jpg", "F": "tif"}.get(mode, "png")
    path = saved(image, tmp_path / f"a.{suffix}")
    with Image.open(path) as reopened:
        assert reopened.mode == mode
    assert difference(load_image(path), expected) < LOSS


@pytest.mark.parametrize("brightness", [0, 60, 200, 255])
def test_transparent_ground_becomes_black_whatever_the_object(
    tmp_path: Path, expected: np.ndarray, brightness: int
) -> None:
    image = Image.new("RGBA", (120, 200), (90, 160, 30, 0))
    colour = Image.new("RGBA", image.size, (brightness, brightness, brightness, 255))
    image.paste(colour, mask=shape_on(0, 255))
    assert difference(load_image(saved(image, tmp_path / "a.png")), expected) < 1


def test_a_palette_with_a_transparent_colour(tmp_path: Path, expected: np.ndarray) -> None:
    image = shape_on(0, 1).convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    path = saved(image, tmp_path / "a.png", transparency=0)
    assert difference(load_image(path), expected) < 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_exif_rotation_is_undone(tmp_path: Path, expected: np.ndarray, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to see it upright"
    turned = shape_on(LIGHT, DARK).transpose(Image.Transpose.ROTATE_90)
    path = saved(turned, tmp_path / name, exif=exif, quality=95)
    assert difference(load_image(path), expected) < LOSS


def test_without_the_tag_an_image_is_not_turned(tmp_path: Path, expected: np.ndarray) -> None:
    turned = shape_on(LIGHT, DARK).transpose(Image.Transpose.ROTATE_90)
    loaded = load_image(saved(turned, tmp_path / "a.png"))
    assert difference(loaded, np.rot90(expected)) < 25 < 50 < difference(loaded, expected)


def test_tiny_and_elongated_pictures(tmp_path: Path) -> None:
    tiny = Image.new("L", (3, 3))
    tiny.putpixel((1, 1), 255)
    with pytest.warns(ImageWarning):
        assert load_image(saved(tiny, tmp_path / "a.png")).max() == 255
    for box in ((10, 20, 390, 40), (10, 26, 490, 34)):
        line = Image.new("L", (box[2] + 10, 60))
        line.paste(255, box)
        with pytest.warns(ImageWarning, match=r"b\.png: the object fills its box, or has no plain"):
            loaded = load_image(saved(line, tmp_path / "b.png"))
        assert loaded.any(axis=0).all()
        assert list(np.flatnonzero(loaded.any(axis=1))) in ([13], [14])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"image .*no\.png does not exist; check the path"):
        load_image(tmp_path / "no.png")


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ImageError, match=r"a\.png is not a readable image; use PNG, JPEG"):
        load_image(tmp_path / "a.png")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r" is a folder; name a file\."):
        load_image(tmp_path)


@pytest.mark.filterwarnings("ignore::predicting.images.ImageWarning")
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.gif", "a.webp", "a.tif", "a.avif"])
def test_wherever_a_file_breaks_off_it_is_one_line(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 60), dtype=np.uint8)
    content = saved(Image.fromarray(noise), tmp_path / name).read_bytes()
    broken, refused = tmp_path / f"broken-{name}", 0
    for length in range(0, len(content) - 1, max(1, len(content) // 60)):
        broken.write_bytes(content[:length])
        try:
            load_image(broken)
        except ImageError as error:
            refused += 1
            assert "\n" not in str(error)
    # GIF shows what it has of its pixels; nothing else does.
    assert refused >= (5 if name == "a.gif" else 60)
    broken.write_bytes(content[: len(content) // 2])
    if name in ("a.png", "a.jpg", "a.bmp"):
        with pytest.raises(ImageError, match=r"is damaged or truncated \(.*\); fetch or save"):
            load_image(broken)


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(shape_on(0, 255), tmp_path / "a.png")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 24_000)
    load_image(path)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 23_999)
    with pytest.raises(ImageError, match=r"a\.png is too large \(120 x 200 pixels; .*; shrink it"):
        load_image(path)


def test_a_large_image_is_read_like_a_small_one(tmp_path: Path, expected: np.ndarray) -> None:
    large = shape_on(LIGHT, DARK).resize((2400, 4000), Image.Resampling.NEAREST)
    for name in ("a.png", "a.jpg"):
        assert difference(load_image(saved(large, tmp_path / name)), expected) < 2


@pytest.mark.parametrize("size", [(28, 28), (100, 60)])
def test_a_picture_of_nothing(tmp_path: Path, size: tuple[int, int]) -> None:
    path = saved(Image.new("RGB", size, "teal"), tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png shows no object: it has a single colour"):
        load_image(path)


def test_a_wholly_transparent_picture(tmp_path: Path) -> None:
    path = saved(Image.new("RGBA", (50, 50)), tmp_path / "a.png")
    with pytest.raises(ImageError, match="shows no object"):
        load_image(path)


PHOTOGRAPHS = ModelConfig(
    dataset="soil",
    image_shape=(20, 30, 3),
    class_names=("moss", "sand"),
    preprocessing="resize",
)


def test_a_photograph_is_resized_as_a_whole(tmp_path: Path) -> None:
    image = Image.new("RGB", (90, 60), (200, 30, 10))
    image.paste((10, 40, 220), (45, 0, 90, 60))
    loaded = load(saved(image, tmp_path / "a.png"), PHOTOGRAPHS)
    assert loaded.shape == (20, 30, 3)
    assert loaded.dtype == np.uint8
    assert loaded[:, 2].tolist() == [[200, 30, 10]] * 20
    assert loaded[:, -3].tolist() == [[10, 40, 220]] * 20


def test_a_photograph_of_the_size_of_the_data_is_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    loaded = load(saved(Image.fromarray(pixels), tmp_path / "a.png"), PHOTOGRAPHS)
    np.testing.assert_array_equal(loaded, pixels)


def test_a_photograph_is_rotated_as_its_tag_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 90), "white")
    image.paste("black", (0, 0, 30, 90))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    loaded = load(saved(image, tmp_path / "a.jpg", exif=exif, quality=95), PHOTOGRAPHS)
    assert loaded[:8].max() < 60  # the left half is above
    assert loaded[-8:].min() > 195


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "CMYK", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_photograph_of_any_kind_has_the_channels_of_the_data(
    tmp_path: Path, mode: str, channels: int
) -> None:
    config = dataclasses.replace(PHOTOGRAPHS, image_shape=(20, 30, channels))
    image = Image.new("L", (90, 60), 255)
    image = Image.new(mode, (90, 60), 65535) if mode == "I;16" else image.convert(mode)
    loaded = load(saved(image, tmp_path / "a.tif"), config)
    assert loaded.shape == (20, 30, channels)
    assert loaded.min() >= 250


def test_a_plain_photograph_is_no_error(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (50, 50), "teal"), tmp_path / "a.png")
    assert load(path, PHOTOGRAPHS)[..., 1].tolist() == [[128] * 30] * 20
    with pytest.raises(ImageError, match=r"b\.png does not exist"):
        load(tmp_path / "b.png", PHOTOGRAPHS)


@pytest.mark.parametrize("brightest", [200, 255, 256, 4_095, 65_535])
@pytest.mark.parametrize("transparent", [False, True])
def test_deep_grey_is_scaled_by_its_format_not_by_its_own_brightest_pixel(
    tmp_path: Path, brightest: int, transparent: bool
) -> None:
    deep = np.linspace(0, brightest, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    info = {"transparency": 7} if transparent else {}
    path = saved(Image.fromarray(deep), tmp_path / "a.png", **info)
    found = np.asarray(pictures.open_picture(path))
    assert found.max() == round(brightest * 255 / 65_535)
    assert abs(found.mean() - deep.mean() * 255 / 65_535) < 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_damaged_tag_does_not_matter(tmp_path: Path, expected: np.ndarray, name: str) -> None:
    path = saved(shape_on(LIGHT, DARK), tmp_path / name, exif=b"Exif\0\0garbage!", quality=95)
    assert difference(load_image(path), expected) < LOSS
