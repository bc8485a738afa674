"""IDX files: found in the right folder, checked, and read whatever their sizes and labels are."""

import dataclasses
import gzip
import hashlib
import shutil
import struct
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from search.data.classes import FASHION_FINGERPRINT
from search.data.idx import OFFICIAL_MD5, find_data, open_idx
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


def test_other_data_than_the_official_files_is_not_fashion_mnist(small_data):
    dataset = open_idx(small_data)
    assert not dataset.is_fashion_mnist
    assert dataclasses.replace(dataset, fingerprint=FASHION_FINGERPRINT).is_fashion_mnist


def test_sums_may_name_other_files_in_any_encoding(copy, monkeypatch):
    sums = (copy / "MD5SUMS").read_bytes()
    (copy / "MD5SUMS").write_bytes(b"0 caf\xe9.gz\n" + sums)
    assert len(open_idx(copy).training()) == 600

    def fail(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", fail)
    with pytest.raises(DataError, match=r"cannot read .*MD5SUMS \(Permission denied\); check its"):
        open_idx(copy)


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
    monkeypatch.setattr("search.data.idx.SHARED_FOLDER", tmp_path / "shared")
    with pytest.raises(DataError, match=r"shared nor .*datasets.*no network.*FASHION_MNIST_DIR"):
        find_data(None)


def test_without_a_home_folder_nothing_is_downloaded(offline, monkeypatch, tmp_path):
    def unknown(user: int) -> None:
        raise KeyError(user)

    for name in ("FASHION_MNIST_DIR", "KERAS_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("search.data.idx.SHARED_FOLDER", tmp_path / "shared")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"this user has no home folder.*FASHION_MNIST_DIR"):
        find_data(None)
    assert not list(tmp_path.iterdir())


def test_a_download_fills_the_keras_cache(small_data, monkeypatch, tmp_path):
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("search.data.idx.SHARED_FOLDER", tmp_path / "shared")
    monkeypatch.setattr("search.data.idx.DOWNLOAD_URL", small_data.as_uri() + "/")
    for name in (IMAGES, LABELS):
        md5 = hashlib.md5((small_data / name).read_bytes()).hexdigest()
        monkeypatch.setitem(OFFICIAL_MD5, name, md5)
    folder = find_data(None)
    assert folder == tmp_path / "datasets" / "fashion-mnist"
    assert sorted(path.name for path in folder.iterdir()) == [IMAGES, LABELS]
    assert (folder / IMAGES).read_bytes() == (small_data / IMAGES).read_bytes()


class Broken(BaseHTTPRequestHandler):
    """Breaks off in the middle of a file."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"only a part")

    def log_message(self, *args: object) -> None:
        pass


class LoginPage(Broken):
    """Answers every request with a login page, as public networks do."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Please log in.</html>")


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (Broken, r"failed \(the connection broke off: IncompleteRead"),
        (LoginPage, rf"failed \(the answer for {IMAGES} is not that file of Fashion-MNIST\)\. Set"),
    ],
)
def test_a_download_that_brings_no_whole_file_is_one_line_and_leaves_none(
    handler, why, monkeypatch, tmp_path
):
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("search.data.idx.SHARED_FOLDER", tmp_path / "shared")
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr("search.data.idx.DOWNLOAD_URL", url)
        with pytest.raises(DataError, match=why):
            find_data(None)
        server.shutdown()
    assert not list((tmp_path / "datasets" / "fashion-mnist").iterdir())


def test_the_error_for_a_damaged_file_states_both_md5s(copy):
    (copy / IMAGES).write_bytes((copy / IMAGES).read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{copy / IMAGES} has MD5 \w{{32}}; expected \w{{32}}"):
        open_idx(copy)
    with pytest.raises(DataError, match="delete it and download it again"):
        open_idx(copy).training()


def test_without_md5sums_only_the_official_files_are_accepted(copy):
    (copy / "MD5SUMS").unlink()
    with pytest.raises(DataError, match="expected 8d4fb7e6c68d591d4c3dfef9ec88bf0d"):
        open_idx(copy)


def test_md5sums_must_list_the_files(copy):
    (copy / "MD5SUMS").write_text("")
    with pytest.raises(DataError, match=f"MD5SUMS has no line for {IMAGES}. Add one"):
        open_idx(copy)


def test_the_error_for_a_missing_file_names_it(copy):
    (copy / IMAGES).unlink()
    with pytest.raises(DataError, match=f"cannot read {copy / IMAGES}"):
        open_idx(copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "is not a gzipped IDX file"),
        (gzip.compress(b"short"), "is not a gzipped IDX file"),
        (gzip.compress(struct.pack(">IIII", 2049, 1, 28, 28) + bytes(784)), "IDX magic 2049"),
        (gzip.compress(struct.pack(">IIII", 2051, 2, 28, 28) + bytes(784)), "784 bytes of data"),
        (gzip.compress(struct.pack(">IIII", 2051, 1, 28, 28) + bytes(785)), "more bytes of data"),
        (gzip.compress(struct.pack(">IIII", 2051, 1, 28, 28) + bytes(784)), "1 images with 600 la"),
        (gzip.compress(struct.pack(">IIII", 2051, 600, 0, 28)), r"\(600, 0, 28\).*0 pixels"),
        (gzip.compress(struct.pack(">IIII", 2051, 2**31, 28, 28)), "GiB of data.*at most 8 GiB"),
    ],
    # Named, since the bytes contain the time of their compression: they differ between processes.
    ids=["gzip", "short", "magic", "too few", "too many", "other count", "no pixels", "bomb"],
)
def test_a_file_that_is_not_an_image_file_is_refused(copy, content, message):
    replace(copy, IMAGES, content)
    with pytest.raises(DataError, match=message):
        open_idx(copy)


def test_data_sets_have_different_fingerprints(small_data, tmp_path):
    write_idx_data(tmp_path, np.zeros((20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 2)
    assert open_idx(small_data).fingerprint == open_idx(small_data).fingerprint
    assert open_idx(small_data).fingerprint != open_idx(tmp_path).fingerprint


def letters(folder: Path, test_label: int = 26) -> Path:
    """Write 26 classes with labels from 1 on, as EMNIST's letters, in images of 20x30."""
    folder.mkdir()
    labels = np.tile(np.arange(1, 27, dtype=np.uint8), 2)
    images = np.random.default_rng(0).integers(0, 256, (52, 20, 30), dtype=np.uint8)
    write_idx_data(folder, images, labels)
    write_idx_data(folder, images[:1], np.array([test_label], np.uint8), part="t10k")
    return folder


def test_labels_may_begin_anywhere_and_images_have_any_size(tmp_path):
    dataset = open_idx(letters(tmp_path / "letters"))
    assert dataset.name == "letters"
    assert dataset.image_shape == (20, 30, 1)
    assert dataset.class_names == tuple(map(str, range(1, 27)))
    assert dataset.mirror is None
    assert dataset.training().labels.max() == 25
    assert np.array_equal(dataset.files.labels(), dataset.training().labels)
    assert dataset.files.test().labels.tolist() == [25]


def test_a_file_names_the_classes(tmp_path):
    folder = letters(tmp_path / "letters")
    (folder / "classes.txt").write_text("\n".join("abcdefghijklmnopqrstuvwxyz") + "\n")
    assert "".join(open_idx(folder).class_names) == "abcdefghijklmnopqrstuvwxyz"
    (folder / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"classes.txt has 2 names .*the data has 26 classes"):
        open_idx(folder)
    (folder / "classes.txt").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"cannot read .*classes.txt .*in UTF-8"):
        open_idx(folder)


def test_a_test_class_that_training_lacks_is_refused(tmp_path):
    with pytest.raises(DataError, match="test part has the class 77, which the training part lack"):
        open_idx(letters(tmp_path / "letters", test_label=77)).files.test()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0], "number of classes in .* is 1; it must be from 2 to 256"),
        ([0, 0, 1], "has 1 usable training images of class '1'; every class needs at least 2"),
    ],
)
def test_too_few_classes_and_images_are_refused(tmp_path, labels, message):
    write_idx_data(tmp_path, np.zeros((3, 28, 28), np.uint8), np.array(labels, np.uint8))
    with pytest.raises(DataError, match=message):
        open_idx(tmp_path)


def test_damaged_and_unlisted_test_files_are_refused_before_a_report_trains(tmp_path):
    files = open_idx(letters(tmp_path / "letters")).files
    files.require_test()
    sums = tmp_path / "letters" / "MD5SUMS"
    listed = sums.read_text()
    sums.write_text(listed.replace("  ", "  ./"))  # of `md5sum ./*`
    files.require_test()
    sums.write_text("".join(line for line in listed.splitlines(True) if "train" in line))
    with pytest.raises(DataError, match="MD5SUMS has no line for t10k-images"):
        files.require_test()
    sums.write_text(listed)
    with (tmp_path / "letters" / "t10k-labels-idx1-ubyte.gz").open("ab") as file:
        file.write(b"damage")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz has MD5"):
        files.require_test()


def test_missing_test_files_are_named(small_data):
    with pytest.raises(DataError, match=r"has no t10k-images-idx3-ubyte.gz .*Put .* there"):
        open_idx(small_data).files.require_test()
