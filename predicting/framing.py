"""Find the object in a picture: without borders, on a background that may be shaded."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.polynomial.polynomial import polygrid2d
from PIL import Image, ImageOps
from scipy import ndimage

# "Close to the background" is 5 % of the largest intensity.
# Source: Xiao, Rasul, Vollgraf: Fashion-MNIST, arXiv 1708.07747, section 2.
_CLOSE: Final = round(0.05 * 255)
# Between these levels the background alone does not tell whether the object is lighter or darker.
_SURELY_DARK, _SURELY_LIGHT = 64, 191
# Shares of edges. Of the test images, 97 % of each class touch less than 0.6 of their box's edges.
_TOUCHED, _PLAIN = 0.8, 0.4
# Pictures in pictures: a frame around a mat around a photograph on a page is four.
_MAX_BORDERS: Final = 8
# Exponents of y and x in a polynomial of degree 4; the first six make degree 2.
_EXPONENTS: Final = sorted(
    ((i, j) for i in range(5) for j in range(5 - i)), key=lambda exponents: sum(exponents)
)

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice]


def frame_object(grey: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, bool]:
    """Return the object, bright on black, as large as fits, in the middle of an image.

    Args:
        grey: Mode L, of any size; up to 512 pixels are enough.
        size: Width and height of that image.

    Returns:
        The image (zeros if no object stands out), and whether the object may be wrong: it fills its
        box, or the picture has no background along its edges.
    """
    pixels = _without_borders(np.asarray(grey, np.float64))
    background = _background(pixels)
    level = float(np.median(background))
    light = level > 127
    if _SURELY_DARK <= level <= _SURELY_LIGHT:
        # The sum is negative if more of the image (pixels x contrast) is darker.
        light = float((pixels - background).sum()) < 0
    # Light falls on object and background alike, so divide by it; 255 is a black object.
    raised = 255 * (1 - pixels / background.clip(1)) if light else pixels - background
    mask = raised > _tolerance(raised)
    raised = raised.clip(0, 255)
    box = _bounding_box(mask, at_least=0.2)
    if box is None:
        return Image.new("L", size), False
    found, inside = raised[box], mask[box]
    # The 99th percentile: a glint must not set the scale.
    scaled = (found * 255 / np.percentile(found[inside], 99)).clip(0, 255)
    image = Image.fromarray(scaled.round().astype(np.uint8))
    # `pad` would round the short side of a thin object to 0 pixels.
    least = math.ceil(image.height / size[1]), math.ceil(image.width / size[0])
    thick = max(image.width, least[0]), max(image.height, least[1])
    image = image.resize(thick, Image.Resampling.LANCZOS)
    # Resize after stretching: Lanczos overshoots at edges, and would set the scale.
    framed = ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=0)
    touched = inside[_ring(inside.shape, 1)].mean()
    plain = np.abs(pixels - background)[_ring(pixels.shape, 1)] <= _CLOSE
    return framed, bool(touched > _TOUCHED or plain.mean() < _PLAIN)


def _without_borders(pixels: Floats) -> Floats:
    """Crop to the innermost picture: strip frames, bars, and the page around a photograph."""
    for _ in range(_MAX_BORDERS):
        background = _background(pixels)
        box = _inside_bars(pixels, background) or _picture_inside(pixels, background)
        if box is None:
            break
        pixels = pixels[box]
    return pixels


def _inside_bars(pixels: Floats, background: Floats) -> Box | None:
    """Return the box inside bars of another color than the background; None without bars."""
    top, right, bottom, left = (
        _bar(np.rot90(pixels, turns), np.rot90(background, turns)) for turns in range(4)
    )
    height, width = pixels.shape
    if not (top or right or bottom or left) or top + bottom >= height or left + right >= width:
        return None
    return slice(top, height - bottom), slice(left, width - right)


def _bar(pixels: Floats, background: Floats) -> int:
    """Return the number of rows at the top that belong to a bar.

    A bar has one color from corner to corner, of which text covers a few pixels, and the
    picture's background begins below it.
    """
    corner = max(1, pixels.shape[1] // 30)
    of_bar = np.abs(pixels - np.median(pixels[0])) <= _CLOSE
    of_background = np.abs(pixels - background) <= _CLOSE
    is_bar = (
        (of_bar.mean(axis=1) >= 0.7)
        & (of_bar[:, :corner].mean(axis=1) >= 0.5)
        & (of_bar[:, -corner:].mean(axis=1) >= 0.5)
        & (of_background.mean(axis=1) < 0.5)
    )
    height = len(pixels) if is_bar.all() else int(is_bar.argmin())
    # Resizing and JPEG blur the edge over two rows.
    for begin in range(height, min(height + 3, len(pixels))):
        if height and of_background[begin].mean() >= 0.5:
            return begin
    return 0


def _picture_inside(pixels: Floats, background: Floats) -> Box | None:
    """Return the box of a picture that lies on the background, or None.

    An object's box has the background at its corners and at most of its edges; a picture's box
    has the picture's own background there.
    """
    difference = np.abs(pixels - background)
    tolerance = _tolerance(difference)
    outer = _bounding_box(difference > tolerance, at_least=1)
    if outer is None:
        return None
    blurred = max(1, round(0.01 * max(pixels.shape)))
    box = (
        slice(outer[0].start + blurred, outer[0].stop - blurred),
        slice(outer[1].start + blurred, outer[1].stop - blurred),
    )
    inner = pixels[box]
    if min(inner.shape) < 3 or inner.size < 0.05 * pixels.size:
        return None
    own = _background(inner)
    ring = _ring(inner.shape, 1)
    near = np.abs(inner - own) <= 1.5 * _CLOSE
    corner = max(1, min(inner.shape) // 30)
    corners = (near[rows, columns] for rows in _ends(corner) for columns in _ends(corner))
    is_picture = (
        near[ring].mean() >= 0.9
        and all(part.mean() >= 0.5 for part in corners)
        and near.mean() <= 0.99
        and np.median(np.abs(own - background[box])[ring]) > _CLOSE
    )
    return box if is_picture else None


def _ends(length: int) -> tuple[slice, slice]:
    return slice(None, length), slice(-length, None)


def _ring(shape: tuple[int, ...], width: int) -> Mask:
    """Return a mask of the pixels along the four edges."""
    ring = np.ones(shape, bool)
    ring[width:-width, width:-width] = False
    return ring


def _tolerance(difference: Floats) -> float:
    """Return the difference to the background up to which a pixel is background: 5 %, or noise."""
    edges = np.abs(difference[_ring(difference.shape, 1)])
    deviation = 1.4826 * float(np.median(edges))  # the standard deviation of normal noise
    return max(_CLOSE, min(3 * deviation, 3 * _CLOSE))


def _background(pixels: Floats) -> Floats:
    """Estimate the background at every pixel from those along the edges.

    It is their median, or where that fits few of them a polynomial: a vignette, a shadow.
    """
    height, width = pixels.shape
    ring = _ring(pixels.shape, max(1, round(0.015 * min(height, width))))
    edges = pixels[ring]
    flat = np.full(pixels.shape, np.median(edges))
    fits_flat = float((np.abs(edges - flat[ring]) <= _CLOSE).mean())
    if fits_flat > 0.85 or min(height, width) < 16:
        return flat
    y, x = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    # Degree 2 by least absolute deviations: objects that touch the edge are outliers.
    rows, columns = (indices[:: 1 + len(edges) // 2000] for indices in np.nonzero(ring))
    levels = pixels[rows, columns]
    terms = _terms(y[rows], x[columns])[:, :6]
    weights = np.ones(len(levels))
    for _ in range(20):
        coefficients = _solve(terms, levels, weights)
        distance = np.abs(terms @ coefficients - levels)
        weights = 1 / distance.clip(1)
    if (distance <= _CLOSE).mean() < fits_flat + 0.1:
        return flat
    # Degree 4, fitted to all pixels near that surface, in a smaller copy.
    step = math.ceil(max(pixels.shape) / 60)
    small_y, small_x = (part.ravel() for part in np.meshgrid(y[::step], x[::step], indexing="ij"))
    levels, terms = pixels[::step, ::step].ravel(), _terms(small_y, small_x)
    coefficients = np.pad(coefficients, (0, len(_EXPONENTS) - 6))
    for _ in range(4):
        near = np.abs(levels - terms @ coefficients) <= _CLOSE
        coefficients = _solve(terms, levels, near.astype(np.float64))
    matrix = np.zeros((5, 5))
    matrix[tuple(np.transpose(_EXPONENTS))] = coefficients
    return np.asarray(polygrid2d(y, x, matrix).clip(0, 255))


def _terms(y: Floats, x: Floats) -> Floats:
    """Return (points, 15): the products of powers of y and x in a polynomial of degree 4."""
    return np.stack([y**i * x**j for i, j in _EXPONENTS], axis=-1)


def _solve(terms: Floats, levels: Floats, weights: Floats) -> Floats:
    """Return the coefficients of weighted least squares; near 0 where the points do not tell."""
    weighted = terms.T * weights
    slightly = 1e-6 * max(1.0, weights.sum()) * np.eye(len(weighted))
    return np.asarray(np.linalg.solve(weighted @ terms + slightly, weighted @ levels))


def _bounding_box(mask: Mask, *, at_least: float) -> Box | None:
    """Return the box around the largest part of a mask, and around other large parts.

    Parts that touch, or nearly do, are one. Noise, a caption and a watermark are small parts.

    Args:
        mask: (height, width).
        at_least: Size of other parts, as a share of the largest; 1 for the largest part alone.
    """
    height, width = mask.shape
    block = max(1, round(0.02 * max(height, width)))
    padded = np.pad(mask, ((0, -height % block), (0, -width % block)))
    blocks = padded.reshape(padded.shape[0] // block, block, -1, block).sum(axis=(1, 3))
    parts, count = ndimage.label(blocks > 0.1 * block**2, np.ones((3, 3)))
    if not count:
        return None
    sizes = ndimage.sum_labels(blocks, parts, range(count + 1))
    sizes[0] = 0
    large = (sizes >= at_least * sizes.max())[parts]
    kept = mask & large.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
