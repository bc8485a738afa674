"""Names of classes: those of known data sets, and those that a file lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from search.errors import DataError
from spaces.errors import one_line, shown

MAX_LETTERS: Final = 255  # of a name: the longest name of a folder
# Source: github.com/zalandoresearch/fashion-mnist, "Labels".
FASHION_CLASSES: Final = (
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
DIGITS: Final = tuple("0123456789")
# Source: cs.toronto.edu/~kriz/cifar.html: batches.meta, and `fine_label_names` of its `meta`.
CIFAR_10: Final = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CIFAR_100: Final = (
    *("apple", "aquarium_fish", "baby", "bear", "beaver"),
    *("bed", "bee", "beetle", "bicycle", "bottle"),
    *("bowl", "boy", "bridge", "bus", "butterfly"),
    *("camel", "can", "castle", "caterpillar", "cattle"),
    *("chair", "chimpanzee", "clock", "cloud", "cockroach"),
    *("couch", "crab", "crocodile", "cup", "dinosaur"),
    *("dolphin", "elephant", "flatfish", "forest", "fox"),
    *("girl", "hamster", "house", "kangaroo", "keyboard"),
    *("lamp", "lawn_mower", "leopard", "lion", "lizard"),
    *("lobster", "man", "maple_tree", "motorcycle", "mountain"),
    *("mouse", "mushroom", "oak_tree", "orange", "orchid"),
    *("otter", "palm_tree", "pear", "pickup_truck", "pine_tree"),
    *("plain", "plate", "poppy", "porcupine", "possum"),
    *("rabbit", "raccoon", "ray", "road", "rocket"),
    *("rose", "sea", "seal", "shark", "shrew"),
    *("skunk", "skyscraper", "snail", "snake", "spider"),
    *("squirrel", "streetcar", "sunflower", "sweet_pepper", "table"),
    *("tank", "telephone", "television", "tiger", "tractor"),
    *("train", "trout", "tulip", "turtle", "wardrobe"),
    *("whale", "willow_tree", "wolf", "woman", "worm"),
)
# Fingerprint of its official training files.
FASHION_FINGERPRINT: Final = "3e570ece69df61ebe2cddb32173b58e9"


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
        names = tuple(file.read_text(encoding="utf-8-sig").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {shown(file)} ({one_line(error)}); write it again, in UTF-8."
        ) from error
    names = tuple(shown(name.strip()) for name in names if name.strip())
    if len(names) != len(labels) or len(set(names)) != len(names):
        raise DataError(
            f"{shown(file)} has {len(names)} names ({len(set(names))} different ones), but the "
            f"data has {len(labels)} classes; write one name a line for each class."
        )
    return names
