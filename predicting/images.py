"""Convert an image file to the form of Fashion-MNIST's images."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, ImageStat, UnidentifiedImageError
from search.data.dataset import Bytes

from predicting.files import special_kind
from predicting.framing import SIZE, frame_object
from search.errors import SearchError
from spaces.errors import one_line, shown

# Pillow opens many more: some are parsed by other programs (EPS by Ghostscript).
FORMATS: Final = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "AVIF")
MAX_PIXELS: Final = 2**26
MAX_SIDE: Final = 2**14
MAX_MEGABYTES: Final = 200
# Larger images are shrunk to this before the object is looked for.
_LONGEST: Final = 512
# Names by which files in a folder are images; the others are images if their content is.
_SUFFIXES: Final = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".jp2", ".jxl", ".svg", ".eps", ".psd", ".ico", ".tga", ".dng", ".raw"),
)


class ImageError(SearchError):
    """An image file cannot be used; the message is one line."""


class ImageWarning(UserWarning):
    """An image may be misread; the message is one line."""


def load_image(path: str | Path) -> Bytes:
    """Read an image file and convert it to a bright object on black, as in Fashion-MNIST.

    The steps are those of the data set's authors, with additions for photographs:

    1. Rotate as the EXIF tag says; use the first frame of an animation. Put transparent parts on
       black if the visible parts are light, else on white. Convert to 8-bit grey.
    2. Strip borders: a frame, bars, the page around a photograph.
    3. The background is the median of the border's pixels, or a smooth surface through them where
       they differ (a vignette, a shadow). Invert the image if it is light, that is above 127; from
       64 to 191 it is light if more of the image is darker than lighter.
    4. Set the background, and all that is darker, to black; trim edges within 5 % of it, and
       small things apart from the object, such as a caption; stretch the intensities, so that the
       object reaches 255.
    5. Resize the longest edge to 28 pixels (Lanczos, instead of the authors' subsampling and
       sharpening), and pad to 28x28 with the object in the middle.

    A file of 28x28 pixels is only inverted, if its background is above 127: it is taken as framed
    already.

    Args:
        path: A regular file, PNG, JPEG, BMP, GIF, WebP, TIFF or AVIF by its content, of at most
            200 MB, 2^26 (67 million) pixels, and 2^14 (16,384) pixels a side.

    Returns:
        (28, 28) uint8, background 0.

    Raises:
        ImageError: The file is missing, not an image, damaged, too large, or of a single colour.

    Warns:
        ImageWarning: The object fills its box, or has no plain background around it.

    Source: Xiao, Rasul, Vollgraf: Fashion-MNIST, arXiv 1708.07747, section 2.
    """
    name = shown(path)
    grey = _grey(_read(Path(path), name))
    fills_box = False
    if grey.size == SIZE:
        framed = ImageOps.invert(grey) if _border_median(grey) > 127 else grey
    else:
        framed, fills_box = frame_object(grey)
    lowest, highest = ImageStat.Stat(grey).extrema[0]
    if lowest == highest or framed.getbbox() is None:
        raise ImageError(
            f"{name} shows no object: it has a single colour, to within 5 %. "
            "Use an image in which the object stands out from its background."
        )
    if fills_box:
        warnings.warn(
            f"{name}: the object fills its box, or has no plain background around it, so its class "
            "may be wrong. Use an image of one object on a plain background.",
            ImageWarning,
            stacklevel=2,
        )
    return np.array(framed, np.uint8)


@dataclass(frozen=True, slots=True)
class FolderContent:
    """The files of a folder and its subfolders, in order, without hidden ones.

    Args:
        images: Files that are images by their content or their suffix.
        others: Paths in the folder of all other files; `NAME/` for links to folders, which are
            not followed, since they may lead in a circle.
        unreadable: One error for each folder that cannot be read.
    """

    images: list[Path]
    others: list[str]
    unreadable: list[OSError]


def list_folder(folder: Path) -> FolderContent:
    """List the files of a folder and its subfolders."""
    found = FolderContent([], [], [])
    for parent, folders, names in os.walk(folder, onerror=found.unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [f"{name}/" for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted(names + links):
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if name not in links and _is_image(path):
                found.images.append(path)
            else:
                found.others.append(os.path.relpath(path, folder) + "/" * (name in links))
    return found


def _is_image(path: Path) -> bool:
    """Return whether a file is an image, perhaps a damaged one or one that cannot be read."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        if special_kind(path):
            return False
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # damaged, or not readable for another reason: `load_image` says why
        return True


def _read(path: Path, name: str) -> Image.Image:
    """Read a file, shrink it to 512 pixels, and rotate it as its EXIF tag says."""
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
            image.load()
            return ImageOps.exif_transpose(_shrunk(image))
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


def _shrunk(image: Image.Image) -> Image.Image:
    """Shrink to at most 512 pixels; colours become RGB, transparency RGBA."""
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
    elif image.mode != "L" and not image.mode.startswith(("I", "F")):
        # The direct conversion to grey is wrong for some palettes and for CMYK.
        image = image if image.mode == "RGB" else image.convert("RGB")
    factor = min(1.0, _LONGEST / max(image.size))
    width, height = (max(1, round(factor * size)) for size in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        # Pillow clips to 255; scale instead.
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)
        top = values.max() if image.mode == "F" else 65535 if values.max() > 255 else 255
        grey = np.clip(values * 255 / (top or 1), 0, 255)
        return Image.fromarray(grey.round().astype(np.uint8))
    if image.mode != "RGBA":
        return image.convert("L")
    brightness = ImageStat.Stat(image.convert("L"), mask=image.getchannel("A")).mean[0]
    ground = Image.new("RGBA", image.size, "white" if brightness < 128 else "black")
    return Image.alpha_composite(ground, image).convert("L")


def _border_median(grey: Image.Image) -> int:
    pixels = np.asarray(grey)
    border = [pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]]
    return int(np.median(np.concatenate(border)))
