"""Convert an image file to the form of the images that a model was trained on."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, ImageStat, UnidentifiedImageError

from predicting.config import DEFAULT, ModelConfig
from predicting.framing import frame_object
from search.data.dataset import Bytes
from search.data.pictures import FORMATS, SUFFIXES, open_picture, resized
from search.data.pictures import ImageError as ImageError
from search.files import special_kind
from spaces.errors import shown

# Names by which files in a folder are images; the others are images if their content is.
_SUFFIXES: Final = (
    *SUFFIXES,
    *(".jp2", ".jxl", ".svg", ".eps", ".psd", ".ico", ".tga", ".dng", ".raw"),
)


class ImageWarning(UserWarning):
    """An image may be misread; the message is one line."""


def load_image(path: str | Path, config: ModelConfig = DEFAULT) -> Bytes:
    """Read an image file and convert it to the form of the images that a model was trained on.

    With `resize` the whole picture is resized, as in training. With `frame` it becomes a bright
    object on black, as in Fashion-MNIST. The steps are those of that data set's authors, with
    additions for photographs:

    1. Rotate as the EXIF tag says; use the first frame of an animation. Put transparent parts on
       black if the visible parts are light, else on white. Convert to 8-bit grey.
    2. Strip borders: a frame, bars, the page around a photograph.
    3. The background is the median of the border's pixels, or a smooth surface through them where
       they differ (a vignette, a shadow). Invert the image if it is light, that is above 127; from
       64 to 191 it is light if more of the image is darker than lighter.
    4. Set the background, and all that is darker, to black; trim edges within 5 % of it, and
       small things apart from the object, such as a caption; stretch the intensities, so that the
       object reaches 255.
    5. Resize the longest edge to that of the model's images (Lanczos, instead of the authors'
       subsampling and sharpening), and pad with the object in the middle.

    A file of exactly the size of the model's images is only inverted, if its background is above
    127: it is taken as framed already.

    Args:
        path: A regular file, PNG, JPEG, BMP, GIF, WebP, TIFF or AVIF by its content, of at most
            200 MB, 2^26 (67 million) pixels, and 2^14 (16,384) pixels a side.
        config: What the model was trained on.

    Returns:
        (height, width, channels) uint8; with `frame`, background 0.

    Raises:
        ImageError: The file is missing, not an image, damaged or too large; with `frame`, also of a
            single colour.

    Warns:
        ImageWarning: With `frame`: the object fills its box, or has no plain background around it.

    Source: Xiao, Rasul, Vollgraf: Fashion-MNIST, arXiv 1708.07747, section 2.
    """
    picture = open_picture(Path(path))
    if config.preprocessing == "resize":
        return resized(picture, config.image_shape)
    return _framed(picture.convert("L"), config.image_shape, shown(path))


def _framed(grey: Image.Image, image_shape: tuple[int, int, int], name: str) -> Bytes:
    size = image_shape[1], image_shape[0]
    fills_box = False
    if grey.size == size:
        framed = ImageOps.invert(grey) if _border_median(grey) > 127 else grey
    else:
        framed, fills_box = frame_object(grey, size)
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
            stacklevel=3,
        )
    return np.array(framed, np.uint8).reshape(image_shape)


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


def _border_median(grey: Image.Image) -> int:
    pixels = np.asarray(grey)
    border = [pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]]
    return int(np.median(np.concatenate(border)))
