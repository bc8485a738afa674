"""Names of classes: those of Fashion-MNIST, and those that a file lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from search.errors import DataError

# Source: github.com/zalandoresearch/fashion-mnist, "Labels".
CLASS_NAMES: Final = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# Fingerprint of the official training files.
FASHION_MNIST: Final = "3e570ece69df61ebe2cddb32173b58e9"


def class_names(file: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the lines of a file as names of classes; the labels, where there is no such file.

    Args:
        file: Text with one name a line, in the order of the labels.
        labels: Labels as text, in their order.

    Raises:
        DataError: The file cannot be read, or has another number of lines than there are classes.
    """
    if not file.is_file():
        return tuple(labels)
    try:
        names = tuple(file.read_text(encoding="utf-8").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file} ({error}); write it anew, in UTF-8.") from error
    names = tuple(name.strip() for name in names if name.strip())
    if len(names) != len(labels) or len(set(names)) != len(names):
        raise DataError(
            f"{file} has {len(names)} names ({len(set(names))} different ones), but the data has "
            f"{len(labels)} classes; write one name a line for each class."
        )
    return names
