"""Data: found in the right folder, checked, and always split in the same way."""

import gzip
import hashlib
import shutil
import struct
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from search.data.files import find_data, fingerprint

from search.data.split import Split, SplitSizes, check_sizes, load_split
from search.errors import DataError
from tests.conftest import write_idx_data

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@pytest.fixture
def copy(small_data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_data, tmp_path / "copy"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def replace(directory: Path, name: str, content: bytes) -> None:
    """Replace a file and write the matching MD5SUMS."""
    (directory / name).write_bytes(content)
    sums = [
        f"{hashlib.md5((directory / file).read_bytes()).hexdigest()} *{file}\n"
        for file in (IMAGES, LABELS)
    ]
    (directory / "MD5SUMS").write_text("".join(sums))


def same(first: Split, second: Split) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("train_images", "train_labels", "val_images", "val_labels")
    )


def test_a_given_folder_takes_precedence_over_the_environment(small_data, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", "/nowhere")
    assert find_data(small_data) == small_data


def test_the_environment_takes_precedence_over_the_default_folders(small_data, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data))
    assert find_data(None) == small_data


def test_a_given_folder_without_a_file_has_no_fallback(copy, monkeypatch):
    (copy / LABELS).unlink()
    with pytest.raises(DataError, match=f"the data folder {copy} has no {LABELS}.*name another"):
        find_data(copy)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(copy))
    with pytest.raises(DataError, match=f"FASHION_MNIST_DIR {copy} has no {LABELS}"):
        find_data(None)


def test_without_data_and_network_the_error_names_every_folder(offline, monkeypatch, tmp_path):
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("search.data.files.SHARED_FOLDER", tmp_path / "shared")
    with pytest.raises(DataError, match=r"shared nor .*datasets.*no network.*FASHION_MNIST_DIR"):
        find_data(None)


def test_a_download_fills_the_keras_cache(small_data, monkeypatch, tmp_path):
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("search.data.files.SHARED_FOLDER", tmp_path / "shared")
    monkeypatch.setattr("search.data.files.DOWNLOAD_URL", small_data.as_uri() + "/")
    folder = find_data(None)
    assert folder == tmp_path / "datasets" / "fashion-mnist"
    assert sorted(path.name for path in folder.iterdir()) == [IMAGES, LABELS]
    assert (folder / IMAGES).read_bytes() == (small_data / IMAGES).read_bytes()


def test_the_error_for_a_damaged_file_states_both_md5s(copy):
    (copy / IMAGES).write_bytes((copy / IMAGES).read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{copy / IMAGES} has MD5 \w{{32}}; expected \w{{32}}"):
        load_split(copy, SplitSizes(val=100))
    with pytest.raises(DataError, match="delete it and download it again"):
        fingerprint(copy)


def test_without_md5sums_only_the_official_files_are_accepted(copy):
    (copy / "MD5SUMS").unlink()
    with pytest.raises(DataError, match="expected 8d4fb7e6c68d591d4c3dfef9ec88bf0d"):
        load_split(copy, SplitSizes(val=100))


def test_md5sums_must_list_the_files(copy):
    (copy / "MD5SUMS").write_text("")
    with pytest.raises(DataError, match=f"MD5SUMS has no line for {IMAGES}. Add one"):
        load_split(copy, SplitSizes(val=100))


def test_the_error_for_a_missing_file_names_it(copy):
    (copy / IMAGES).unlink()
    with pytest.raises(DataError, match=f"cannot read {copy / IMAGES}"):
        load_split(copy, SplitSizes(val=100))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "is not a gzipped IDX file"),
        (gzip.compress(b"short"), "is not a gzipped IDX file"),
        (gzip.compress(struct.pack(">IIII", 2049, 1, 28, 28) + bytes(784)), "IDX magic 2049"),
        (gzip.compress(struct.pack(">IIII", 2051, 2, 28, 28) + bytes(784)), "784 bytes of data"),
        (
            gzip.compress(struct.pack(">IIII", 2051, 1, 28, 28) + bytes(784)),
            r"labels of shape \(600,\)",
        ),
        (gzip.compress(struct.pack(">IIII", 2051, 600, 4, 4) + bytes(9600)), r"\(600, 4, 4\)"),
    ],
    # Named, since the bytes contain the time of their compression: they differ between processes.
    ids=["no gzip", "short", "other magic", "too few images", "other count", "other size"],
)
def test_a_file_that_is_not_an_image_file_is_refused(copy, content, message):
    replace(copy, IMAGES, content)
    with pytest.raises(DataError, match=message):
        load_split(copy, SplitSizes(val=100))


def test_the_split_uses_all_images_with_equal_shares_of_each_class(small_data):
    split = load_split(small_data, SplitSizes(val=100))
    assert split.train_images.shape == (500, 28, 28)
    assert np.bincount(split.val_labels).tolist() == [10] * 10
    assert np.bincount(split.train_labels).tolist() == [50] * 10
    images = np.concatenate([split.train_images, split.val_images])
    assert len({image.tobytes() for image in images}) == 600


def test_the_split_is_always_the_same(small_data):
    assert same(
        load_split(small_data, SplitSizes(val=100)), load_split(small_data, SplitSizes(val=100))
    )


def test_shares_are_within_one_image_where_sizes_do_not_divide(small_data):
    split = load_split(small_data, SplitSizes(train=123, val=101))
    assert sorted(np.bincount(split.val_labels)) == [10] * 9 + [11]
    assert sorted(np.bincount(split.train_labels)) == [12] * 7 + [13] * 3


def test_the_first_images_of_a_split_are_the_split_of_that_size(small_data):
    whole = load_split(small_data, SplitSizes(val=100))
    assert same(whole.first(123), load_split(small_data, SplitSizes(train=123, val=100)))
    assert same(whole.first(None), whole)


def test_a_smaller_training_part_lies_within_a_larger_one(small_data):
    larger = load_split(small_data, SplitSizes(train=200, val=100))
    smaller = load_split(small_data, SplitSizes(train=50, val=100))
    assert np.array_equal(smaller.train_images, larger.train_images[:50])
    assert np.array_equal(smaller.val_images, larger.val_images)


def test_no_validation_image_has_a_duplicate(tmp_path):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (300, 28, 28), dtype=np.uint8)
    labels = np.tile(np.arange(10, dtype=np.uint8), 30)
    images[150:200] = images[100:150]
    write_idx_data(tmp_path, images, labels)
    split = load_split(tmp_path, SplitSizes(val=190))
    training = {image.tobytes() for image in split.train_images}
    assert not any(image.tobytes() in training for image in split.val_images)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (SplitSizes(val=9), r"--val-size is 9; .* in \[10, 590\]"),
        (SplitSizes(val=591), "--val-size is 591"),
        (SplitSizes(val=100, train=501), r"--train-size is 501; .* in \[10, 500\]"),
        (SplitSizes(val=100, train=0), "--train-size is 0"),
    ],
)
def test_sizes_that_do_not_fit_the_data_are_refused(small_data, sizes, message):
    with pytest.raises(DataError, match=message):
        load_split(small_data, sizes)
    with pytest.raises(DataError, match=message):
        check_sizes(small_data, sizes)


def test_other_data_than_expected_is_refused(small_data):
    load_split(small_data, SplitSizes(val=100), fingerprint(small_data))
    with pytest.raises(DataError, match=r"has other data now \(MD5 .*\) than the study \(other\)"):
        load_split(small_data, SplitSizes(val=100), "other")


def test_a_split_checks_its_arrays():
    images, labels = np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.uint8)
    with pytest.raises(DataError, match=r"Split.train_images is uint8\(2, 28, 28\)"):
        Split(train_images=images, train_labels=labels, val_images=images, val_labels=labels[:2])


def test_data_sets_have_different_fingerprints(small_data, tmp_path):
    write_idx_data(tmp_path, np.zeros((20, 28, 28), np.uint8), np.zeros(20, np.uint8))
    assert fingerprint(small_data) == fingerprint(small_data)
    assert fingerprint(small_data) != fingerprint(tmp_path)
