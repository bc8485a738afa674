"""`--data`: names, paths, and what is neither."""

import os

import numpy as np
import pytest

from search.data import formats, named
from search.data.formats import open_dataset
from search.errors import DataError
from tests.search.data.pictures import noise, write_pictures


def refuse(data: str, message: str, **settings: object) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(data, **settings)


def test_a_folder_of_idx_files_is_opened(small_data):
    dataset = open_dataset(str(small_data), mirror=True)
    assert dataset.name == small_data.name
    assert dataset.mirror is True
    assert dataset.fact["source"] == {"data": str(small_data), "image_size": None, "mirror": True}


def test_the_default_is_fashion_mnist_as_it_is_found(small_data, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data))
    for data in (None, "fashion_mnist"):
        assert open_dataset(data).source["data"] == "fashion_mnist"


def test_the_path_of_the_source_is_absolute(small_data, monkeypatch):
    monkeypatch.chdir(small_data.parent)
    assert open_dataset(f"./{small_data.name}").source["data"] == str(small_data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "cifar1O",
            r"neither a name \(fashion_mnist, mnist, cifar10, cifar100\) nor a path.*'cifar1",
        ),
        ("fashion-mnist", "Did you mean 'fashion_mnist'"),
        ("", "--data '' is neither a name"),
        ("/no/mnist", "nor a path that exists.$"),  # a path is no misspelt name
        ("x" * 5000, "neither a name"),
        ("~nosuchuser/x", "--data '~nosuchuser/x' is neither"),
        ("a\nb", r"--data 'a\\\\nb' is neither"),
    ],
)
def test_what_is_neither_name_nor_path_is_refused(data, message):
    refuse(data, message)


def test_a_link_in_a_circle_is_no_path(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    refuse(str(tmp_path / "loop"), "nor a path that exists")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    refuse(str(tmp_path / "a.jpg"), "is a file, but not an .npz file; name an .npz file, a folder")
    os.mkfifo(tmp_path / "pipe")
    refuse(str(tmp_path / "pipe"), "pipe is a named pipe; name an .npz file")


def test_images_of_a_fixed_size_are_not_resized(small_data):
    refuse(str(small_data), "--image-size is 32, but the images of .* have a fixed", image_size=32)
    refuse("mnist", "--image-size is 32, but the images of mnist have a fixed size", image_size=32)


def test_a_cache_that_may_not_be_created_is_not(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        write_pictures(tmp_path / "photos" / name, 10, seed=number)
    np.savez(tmp_path / "some.npz", x_train=noise(20, 16, 16), y_train=np.arange(20) % 2)
    for data in ("photos", "some.npz"):
        open_dataset(str(tmp_path / data), cache=tmp_path / "cache", create=False, quiet=True)
        assert not (tmp_path / "cache").exists()


def test_every_name_has_a_module_of_keras():
    import keras

    for name in formats.NAMES:
        assert hasattr(keras.datasets, name)
    assert [len(known.class_names) for known in named.KNOWN.values()] == [10, 10, 100]
    assert list(named.CIFAR_100) == sorted(set(named.CIFAR_100))
