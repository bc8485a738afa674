"""The classes of Fashion-MNIST."""

from typing import Final

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
# `search.data.files.fingerprint` of the official training files.
FASHION_MNIST: Final = "3e570ece69df61ebe2cddb32173b58e9"
