"""The formats that a data set may have: opens what `--data` names."""

import os
from dataclasses import replace
from pathlib import Path

from search.data.dataset import Dataset
from search.data.folder import open_folder
from search.data.idx import IMAGES_FILE, LABELS_FILE, find_data, open_idx
from search.data.named import FASHION, KNOWN, NAMES, open_named
from search.data.npz import open_npz
from search.errors import DataError
from search.files import special_kind
from spaces.errors import did_you_mean, shown


def open_dataset(
    data: str | None,
    *,
    image_size: int | None = None,
    mirror: bool | None = None,
    cache: Path | None = None,
    create: bool = True,
    quiet: bool = False,
) -> Dataset:
    """Open a data set, without its test part.

    Args:
        data: A name of `NAMES`; a folder of IDX files; a folder of image files in folders; or an
            .npz file. None: `fashion_mnist`.
        image_size: Pixels a side to which images are resized, 16 to 224; None: the format's
            default. Not for names and IDX files.
        mirror: Whether an image that is mirrored left-right still belongs to its class; None: what
            is known of a name, else unknown.
        cache: Folder for unpacked images, beside the studies. None: a temporary one.
        create: Whether the cache may be created or changed; if not, it is only read.
        quiet: Show no progress.

    Raises:
        DataError: It does not exist, or something about it is wrong; the message says what.
    """
    data = FASHION if data is None else data
    dataset, source = _open(data, image_size, cache, create, quiet)
    return replace(
        dataset,
        mirror=dataset.mirror if mirror is None else mirror,
        source={"data": source, "image_size": image_size, "mirror": mirror},
    )


def _open(
    data: str, image_size: int | None, cache: Path | None, create: bool, quiet: bool
) -> tuple[Dataset, str]:
    """Return a data set, and its name or absolute path."""
    if data in NAMES:
        _refuse_size(data, image_size)
        if data in KNOWN:
            return open_named(data, cache, create=create, quiet=quiet), data
        return open_idx(find_data()), data
    path = Path(os.path.expanduser(data))  # unlike `Path.expanduser`, never an error
    # An empty text would be the current folder, but it is a variable that was not set.
    if not data or not os.path.exists(path):  # unlike `Path.exists`, never an error
        raise DataError(
            f"--data {shown(data)!r} is neither a name ({', '.join(NAMES)}) nor a path that exists."
            f"{'' if os.path.dirname(data) else did_you_mean(data, NAMES)}"
        )
    absolute = str(path.resolve())
    if path.is_dir():
        if (path / IMAGES_FILE).exists() or (path / LABELS_FILE).exists():
            _refuse_size(data, image_size)
            return open_idx(find_data(path)), absolute
        dataset = open_folder(path, image_size, cache, create=create, quiet=quiet)
        return dataset, absolute
    if path.suffix.lower() == ".npz" or special_kind(path) is not None:
        return open_npz(path, image_size, cache, create=create), absolute
    raise DataError(
        f"--data {shown(data)!r} is a file, but not an .npz file; name an .npz file, a folder of "
        f"image files or of IDX files, or {', '.join(NAMES)}."
    )


def _refuse_size(data: str, image_size: int | None) -> None:
    if image_size is not None:
        raise DataError(
            f"--image-size is {image_size}, but the images of {shown(data)} have a fixed size; "
            "leave it out."
        )
