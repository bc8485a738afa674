"""Open image files of any kind and size safely, and convert them to images of a data set."""

import threading
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, ImageStat, UnidentifiedImageError

from search.data.dataset import Bytes
from search.errors import DataError
from search.files import special_kind
from spaces.errors import one_line, shown

# Pillow opens many more: some are parsed by other programs (EPS by Ghostscript).
FORMATS: Final = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "AVIF")
# Files of these names are images, damaged or not; others are if Pillow can tell their format.
SUFFIXES: Final = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif"),
)
MAX_PIXELS: Final = 2**26
MAX_SIDE: Final = 2**14
MAX_MEGABYTES: Final = 200
# Larger pictures are shrunk to this: twice the largest side that networks here are made for.
_LONGEST: Final = 512
# Pixels of a picture that may take more than 0.07 GB while it is decoded; the largest take 1.1 GB.
_LARGE: Final = 2**22
_LARGE_JPEG: Final = 2**24
_alone: Final = threading.Lock()  # one large picture at a time, however many threads decode


class ImageError(DataError):
    """An image file cannot be used; the message is one line."""


def open_picture(path: Path) -> Image.Image:
    """Read a picture, rotate it as its EXIF tag says, and shrink it to at most 512 pixels a side.

    The first frame of an animation is used. Transparent parts become black if the visible parts are
    light, else white.

    Args:
        path: A regular file, PNG, JPEG, BMP, GIF, WebP, TIFF or AVIF by its content, of at most
            200 MB, 2^26 (67 million) pixels, and 2^14 (16,384) pixels a side.

    Returns:
        A picture of mode L (grey) or RGB, of 8 bits.

    Raises:
        ImageError: The file is missing, not an image, damaged or too large.
    """
    name = shown(path)
    try:
        if kind := special_kind(path):
            raise ImageError(f"{name} is {kind}; name a file.")
        if (megabytes := path.stat().st_size / 10**6) > MAX_MEGABYTES:
            raise ImageError(
                f"{name} is too large ({megabytes:,.0f} MB; at most {MAX_MEGABYTES} MB); shrink it."
            )
        with (
            warnings.catch_warnings(action="ignore"),  # of large images and damaged EXIF tags
            # Given a path, Pillow maps raw TIFF into memory, and skews it if it is to be rotated.
            path.open("rb") as file,
            Image.open(file, formats=FORMATS) as image,
        ):
            width, height = image.size
            if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                raise ImageError(
                    f"{name} is too large ({width:,} x {height:,} pixels; at most "
                    f"{MAX_PIXELS:,} in all and {MAX_SIDE:,} a side); shrink it."
                )
            image.draft(None, (2 * _LONGEST, 2 * _LONGEST))  # JPEG is decoded at a smaller size
            # MPO: a JPEG of a phone, which contains a second picture.
            large = _LARGE_JPEG if image.format in ("JPEG", "MPO") else _LARGE
            with _alone if width * height > large else nullcontext():
                image.load()
                shrunk = _shrunk(image)
            with suppress(Exception):  # a damaged tag does not say how the camera was held
                shrunk = ImageOps.exif_transpose(shrunk)
            return _opaque(shrunk)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"image {name} does not exist; check the path.") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{name} is not a readable image; use PNG, JPEG, BMP, GIF, WebP, TIFF or AVIF (save "
            "HEIC as JPEG)."
        ) from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large ({one_line(error)}); shrink it.") from error
    except Exception as error:  # Pillow's readers raise errors of any type for damaged files
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"cannot read {name} ({error.strerror}); check the file.") from None
        raise ImageError(
            f"{name} is damaged or truncated ({one_line(error)}); fetch or save it again."
        ) from error


def resized(image: Image.Image, image_shape: tuple[int, int, int]) -> Bytes:
    """Resize a whole picture to the shape of a data set's images, whatever its proportions.

    Training and predictions use this, so that a network sees pictures as it was trained on them.

    Args:
        image: From `open_picture`.
        image_shape: Height, width and channels: 1 for grey, 3 for colour.

    Returns:
        (height, width, channels) uint8.
    """
    height, width, channels = image_shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(image, np.uint8).reshape(image_shape)


def _shrunk(image: Image.Image) -> Image.Image:
    """Shrink to at most 512 pixels; colours become RGB, transparency RGBA."""
    deep = image.mode.startswith(("I", "F"))  # a transparent colour in it would clip it
    if image.has_transparency_data and not deep:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
    elif image.mode != "L" and not deep:
        # The direct conversion to grey is wrong for some palettes and for CMYK.
        image = image if image.mode == "RGB" else image.convert("RGB")
    factor = min(1.0, _LONGEST / max(image.size))
    width, height = (max(1, round(factor * size)) for size in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _opaque(image: Image.Image) -> Image.Image:
    """Bring deep grey to 8 bits, and put transparent parts on black or white."""
    if image.mode.startswith(("I", "F")):
        # Pillow clips to 255; scale instead.
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)
        # By the range of the format, not by each image's own: a data set keeps its exposures.
        top = {"F": values.max(), "I": 65535 if values.max() > 255 else 255}.get(image.mode, 65535)
        grey = np.clip(values * 255 / (top or 1), 0, 255)
        return Image.fromarray(grey.round().astype(np.uint8))
    if image.mode != "RGBA":
        return image
    brightness = ImageStat.Stat(image.convert("L"), mask=image.getchannel("A")).mean[0]
    ground = Image.new("RGBA", image.size, "white" if brightness < 128 else "black")
    return Image.alpha_composite(ground, image).convert("RGB")
