"""Turn a picture file of any kind into what Fashion-MNIST's images look like."""

import warnings
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageOps, ImageStat, UnidentifiedImageError

from search.data.files import Bytes
from search.errors import SearchError, first_line

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
SIZE: Final = (28, 28)
# "Close to the background" is 5 % of the largest intensity.
# Source: Xiao, Rasul, Vollgraf: Fashion-MNIST, arXiv 1708.07747, section 2.
_CLOSE: Final = round(0.05 * 255)
# Between these, a background alone does not tell whether the object is the lighter of the two.
_SURELY_DARK, _SURELY_LIGHT = 64, 191


class ImageError(SearchError):
    """A picture file cannot be used; the message is one line for the user."""


def load_image(path: str | Path) -> Bytes:
    """Read a picture and give it the form of Fashion-MNIST: a bright object on black.

    The steps of the data set's makers, with what photographs need besides:

    1. Turn it upright by its EXIF tag; of an animation, take the first frame. Put transparent
       parts on black if what is visible is light, else on white. Convert to 8-bit grey.
    2. The background is the median of the border's pixels. Above 127 it counts as light, and the
       image is inverted; from 64 to 191 this is decided by whether more of the image is darker
       or lighter than its background.
    3. Set the background, and what is darker, to black; trim edges within 5 % of it; stretch the
       intensities, so that the object reaches 255.
    4. Shrink or enlarge, so that the longest edge is 28 pixels (Lanczos, in place of the makers'
       subsampling and sharpening), and pad to 28x28 with the object in the middle.

    A picture of 28x28 pixels is taken as framed already: it is only inverted if its background
    is above 127. A grey one on dark ground comes out unchanged.

    Args:
        path: PNG, JPEG, BMP, GIF, WebP or whatever else Pillow reads, of any size.

    Returns:
        (28, 28) uint8, 0 the background.

    Raises:
        ImageError: The file is missing, no image, damaged, too large, or of one colour all over.

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
            f"{path} shows nothing: it is of one colour all over, to within 5 %. "
            "Give a picture in which the object stands out from its background."
        )
    return np.array(framed, np.uint8)


def _read(path: Path) -> Image.Image:
    """Read a file whole, and turn it upright."""
    try:
        with warnings.catch_warnings():
            # Large photographs are no attack; what is twice as large is still an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check the name of the image.") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{path} is not an image that can be read; use PNG, JPEG, BMP, GIF or WebP."
        ) from None
    except (PermissionError, IsADirectoryError) as error:
        raise ImageError(f"cannot read {path} ({error.strerror}); give a readable file.") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} is too large ({first_line(error)}); shrink it.") from error
    except Exception as error:  # damage makes Pillow's readers raise whatever it leads them to
        raise ImageError(
            f"{path} is damaged or truncated ({first_line(error)}); fetch or save it again."
        ) from error


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        # Pillow clips 16-bit grey to 255 where it should scale.
        values = np.asarray(image, np.float64)
        top = 65535 if values.max() > 255 else 255
        return Image.fromarray(np.clip(values * 255 / top, 0, 255).round().astype(np.uint8))
    if not image.has_transparency_data:
        # By way of RGB, since palettes and CMYK have no direct way that is right for all.
        return image if image.mode == "L" else image.convert("RGB").convert("L")
    visible = image.convert("RGBA")
    brightness = ImageStat.Stat(visible.convert("L"), mask=visible.getchannel("A")).mean[0]
    ground = Image.new("RGBA", visible.size, "white" if brightness < 128 else "black")
    return Image.alpha_composite(ground, visible).convert("L")


def _background(grey: Image.Image) -> int:
    """The median of the pixels along the four borders."""
    pixels = np.asarray(grey)
    border = [pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]]
    return int(np.median(np.concatenate(border)))


def _is_light(background: int, grey: Image.Image) -> bool:
    if not _SURELY_DARK <= background <= _SURELY_LIGHT:
        return background > 127
    difference = np.arange(256) - background
    # Positive where more (pixels times contrast) of the image is lighter than its background.
    return bool(np.dot(difference, grey.histogram()) < 0)


def _frame(grey: Image.Image) -> Image.Image:
    """Steps 2 to 4 of `load_image`; all 0 where nothing stands out."""
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
    # Resized last: where Lanczos overshoots at an edge, it then clips instead of setting the scale.
    return ImageOps.pad(stretched, SIZE, Image.Resampling.LANCZOS, color=0)


def _object_level(raised: Image.Image) -> int:
    """The intensity that all but the brightest 1 % of the object have: a glint sets no scale."""
    counts = np.array(raised.histogram())
    counts[: _CLOSE + 1] = 0
    return int(np.searchsorted(np.cumsum(counts), 0.99 * counts.sum()))
