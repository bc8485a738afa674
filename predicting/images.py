"""Convert an image file of any kind to the form of Fashion-MNIST's images."""

import warnings
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageOps, ImageStat, UnidentifiedImageError

from search.data.files import Bytes
from search.errors import SearchError
from spaces.errors import one_line

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
SIZE: Final = (28, 28)
# "Close to the background" is 5 % of the largest intensity.
# Source: Xiao, Rasul, Vollgraf: Fashion-MNIST, arXiv 1708.07747, section 2.
_CLOSE: Final = round(0.05 * 255)
# Between these levels the background alone does not tell whether the object is lighter or darker.
_SURELY_DARK, _SURELY_LIGHT = 64, 191


class ImageError(SearchError):
    """An image file cannot be used; the message is one line."""


def load_image(path: str | Path) -> Bytes:
    """Read an image file and convert it to a bright object on black, as in Fashion-MNIST.

    The steps are those of the data set's authors, with additions for photographs:

    1. Rotate as the EXIF tag says; use the first frame of an animation. Put transparent parts on
       black if the visible parts are light, else on white. Convert to 8-bit grey.
    2. The background is the median of the border's pixels. Invert the image if it is light, that
       is above 127; from 64 to 191 it is light if more of the image is darker than lighter.
    3. Set the background, and all that is darker, to black; trim edges within 5 % of it; stretch
       the intensities, so that the object reaches 255.
    4. Resize the longest edge to 28 pixels (Lanczos, instead of the authors' subsampling and
       sharpening), and pad to 28x28 with the object in the middle.

    A file of 28x28 pixels is only inverted, if its background is above 127: it is taken as framed
    already.

    Args:
        path: PNG, JPEG, BMP, GIF, WebP or another format that Pillow reads, of any size.

    Returns:
        (28, 28) uint8, background 0.

    Raises:
        ImageError: The file is missing, not an image, damaged, too large, or of a single colour.

    Source: Xiao, Rasul, Vollgraf: Fashion-MNIST, arXiv 1708.07747, section 2.
    """
    grey = _grey(_read(Path(path)))
    if grey.size == SIZE:
        framed = ImageOps.invert(grey) if _background(grey) > 127 else grey
    else:
        framed = _frame(grey)
    lowest, highest = ImageStat.Stat(grey).extrema[0]
    if lowest == highest or framed.getbbox() is None:
        raise ImageError(
            f"{path} shows no object: it has a single colour, to within 5 %. "
            "Use an image in which the object stands out from its background."
        )
    return np.array(framed, np.uint8)


def _read(path: Path) -> Image.Image:
    """Read all of a file, and rotate it as its EXIF tag says."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, and raises an error above twice that size.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise ImageError(f"image {path} does not exist; check the path.") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{path} is not a readable image; use PNG, JPEG, BMP, GIF or WebP."
        ) from None
    except (PermissionError, IsADirectoryError) as error:
        raise ImageError(f"cannot read {path} ({error.strerror}); name a readable file.") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} is too large ({one_line(error)}); shrink it.") from error
    except Exception as error:  # Pillow's readers raise errors of any type for damaged files
        raise ImageError(
            f"{path} is damaged or truncated ({one_line(error)}); fetch or save it again."
        ) from error


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        # Pillow clips 16-bit grey to 255; scale it instead.
        values = np.asarray(image, np.float64)
        top = 65535 if values.max() > 255 else 255
        return Image.fromarray(np.clip(values * 255 / top, 0, 255).round().astype(np.uint8))
    if not image.has_transparency_data:
        # Through RGB: the direct conversion is wrong for some palettes and for CMYK.
        return image if image.mode == "L" else image.convert("RGB").convert("L")
    visible = image.convert("RGBA")
    brightness = ImageStat.Stat(visible.convert("L"), mask=visible.getchannel("A")).mean[0]
    ground = Image.new("RGBA", visible.size, "white" if brightness < 128 else "black")
    return Image.alpha_composite(ground, visible).convert("L")


def _background(grey: Image.Image) -> int:
    """Return the median of the pixels along the four borders."""
    pixels = np.asarray(grey)
    border = [pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]]
    return int(np.median(np.concatenate(border)))


def _is_light(background: int, grey: Image.Image) -> bool:
    if not _SURELY_DARK <= background <= _SURELY_LIGHT:
        return background > 127
    difference = np.arange(256) - background
    # The sum is positive if more of the image (pixels x contrast) is lighter than the background.
    return bool(np.dot(difference, grey.histogram()) < 0)


def _frame(grey: Image.Image) -> Image.Image:
    """Apply steps 2 to 4 of `load_image`; return zeros if no object stands out."""
    background = _background(grey)
    if _is_light(background, grey):
        grey, background = ImageOps.invert(grey), 255 - background
    raised = ImageChops.subtract(grey, Image.new("L", grey.size, background))
    box = raised.point([0] * (_CLOSE + 1) + [255] * (255 - _CLOSE)).getbbox()
    if box is None:
        return Image.new("L", SIZE)
    cropped = raised.crop(box)
    top = _object_level(cropped)
    stretched = cropped.point([min(255, round(255 * level / top)) for level in range(256)])
    # Resize after stretching: Lanczos overshoots at edges, and would set the scale.
    return ImageOps.pad(stretched, SIZE, Image.Resampling.LANCZOS, color=0)


def _object_level(raised: Image.Image) -> int:
    """Return the 99th percentile of the object's intensities: a glint must not set the scale."""
    counts = np.array(raised.histogram())
    counts[: _CLOSE + 1] = 0
    return int(np.searchsorted(np.cumsum(counts), 0.99 * counts.sum()))
