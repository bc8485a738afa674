""".npz files: arrays of many types and shapes, and what is refused."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.data import npz, zipped
from search.data.dataset import Dataset
from search.data.formats import open_dataset
from search.errors import DataError
from tests.search.data.pictures import noise

IMAGES = noise(20, 18, 16)
LABELS = np.arange(20) % 2


def opened(folder: Path, image_size: int | None = None, /, **arrays: Any) -> Dataset:
    np.savez_compressed(folder / "some.npz", **arrays)
    return open_dataset(
        str(folder / "some.npz"), image_size=image_size, cache=folder / "cache", quiet=True
    )


def whole(folder: Path, **changes: Any) -> Dataset:
    arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": noise(4, 18, 16, seed=1)}
    return opened(folder, **arrays | {"y_test": LABELS[:4]} | changes)


def test_arrays_are_read_as_they_are(tmp_path):
    dataset = whole(tmp_path)
    part, test = dataset.training(), dataset.files.test()
    assert dataset.name == "some"
    assert dataset.image_shape == (18, 16, 1)
    assert dataset.class_names == ("0", "1")
    assert dataset.mirror is None
    assert np.array_equal(part.images[..., 0], IMAGES)
    assert np.array_equal(part.labels, LABELS)
    assert np.array_equal(dataset.files.labels(), LABELS)
    assert np.array_equal(test.images[..., 0], noise(4, 18, 16, seed=1))
    dataset.files.require_test()
    assert dataset.source == {
        "data": str(tmp_path / "some.npz"),
        "image_size": None,
        "mirror": None,
    }


def test_colours_and_arrays_in_the_order_of_columns_are_read(tmp_path):
    images = np.asfortranarray(noise(20, 16, 16, 3))
    dataset = opened(tmp_path, x_train=images, y_train=LABELS)
    assert dataset.image_shape == (16, 16, 3)
    files = dataset.files
    read = np.concatenate([dataset.training().images, files.test().images])
    assert {image.tobytes() for image in read} == {image.tobytes() for image in images}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.where(LABELS == 1, -7, 300), ("-7", "300")),
        (LABELS.reshape(20, 1), ("0", "1")),
        (LABELS.astype(float), ("0", "1")),
        (LABELS.astype(bool), ("0", "1")),
        (np.where(LABELS == 1, "dog", "a\nb"), ("a\\nb", "dog")),
        (np.where(LABELS == 1, b"dog", b"\xff"), ("\\xff", "dog")),
        (np.eye(2)[LABELS], ("0", "1")),
        (np.eye(3, dtype=np.uint8)[LABELS + 1], ("1", "2")),
    ],
    ids=["integers", "column", "floats", "bools", "text", "bytes", "one-hot", "unused column"],
)
def test_labels_may_be_integers_text_or_one_hot(tmp_path, labels, names):
    dataset = whole(tmp_path, y_train=labels, y_test=labels[:4])
    assert dataset.class_names == names
    expected = np.unique(np.argmax(labels, 1) if labels.shape[1:] not in ((), (1,)) else labels)
    assert len(expected) == 2
    assert len(np.unique(dataset.training().labels[::2])) == 1
    assert dataset.files.test().labels.tolist() == dataset.training().labels[:4].tolist()


def test_a_file_beside_it_names_the_classes(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert whole(tmp_path).class_names == ("cat", "dog")
    # Read again, for the cache is checked; Notepad begins it with a mark.
    (tmp_path / "classes.txt").write_text("cow\ndog\n", encoding="utf-8-sig")
    assert whole(tmp_path).class_names == ("cow", "dog")


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (IMAGES / 255, IMAGES),
        ((IMAGES / 255).astype(np.float32), IMAGES),
        (IMAGES / 255 * 1.0000001, IMAGES),
        (IMAGES.astype(np.float64), IMAGES),
        (IMAGES.astype(">i4"), IMAGES),
        (IMAGES > 127, (IMAGES > 127) * 255),
        (IMAGES.clip(0, 16).astype(float), IMAGES.clip(0, 16)),
    ],
    ids=["unit", "float32", "rounded", "floats to 255", "big-endian", "bools", "floats to 16"],
)
def test_pixels_become_bytes(tmp_path, images, expected):
    dataset = whole(tmp_path, x_train=images, x_test=images[:1] * 0, y_test=[0])
    assert np.array_equal(dataset.training().images[..., 0], expected)


def test_the_user_is_told_that_pixels_are_scaled(tmp_path):
    notes = opened(tmp_path, x_train=IMAGES / 255, y_train=LABELS).notes
    assert notes[0] == "pixels reach from 0 to 1: multiplied by 255"


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_the_user_is_told_that_white_is_black(tmp_path, dtype):
    dark = IMAGES.clip(0, 16).astype(dtype)
    assert opened(tmp_path, x_train=dark, y_train=LABELS).notes[0] == (
        "the brightest pixel is 16 of 255: if it is white, multiply all pixels by 255 / 16, or "
        "predictions for image files will be wrong"
    )
    for images in (IMAGES.clip(0, 128), IMAGES > 127):
        notes = opened(tmp_path, x_train=images, y_train=LABELS).notes
        assert not any("brightest pixel" in note for note in notes)


def test_small_images_are_enlarged_and_others_resized_on_request(tmp_path):
    arrays = {"x_train": noise(20, 8, 8), "y_train": LABELS}
    dataset = opened(tmp_path, **arrays)
    assert dataset.image_shape == (16, 16, 1)
    assert "images are resized to 16x16 pixels" in dataset.notes
    assert opened(tmp_path, 32, **arrays).image_shape == (32, 32, 1)
    colours = opened(tmp_path, 16, x_train=noise(20, 30, 20, 3), y_train=LABELS)
    assert colours.image_shape == (16, 16, 3)


def test_a_file_that_was_changed_is_read_again(tmp_path):
    first = whole(tmp_path)
    assert whole(tmp_path).fingerprint == first.fingerprint
    second = whole(tmp_path, x_train=IMAGES[::-1], y_train=LABELS[::-1])
    assert second.fingerprint != first.fingerprint
    assert np.array_equal(first.training().images[..., 0], IMAGES)


_LONG_SIDE = np.zeros((20, 225, 16), np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": IMAGES[:19]}, "x_train in .* has 19 images, but y_train has 20 labels"),
        (
            {"x_train": IMAGES[:0], "y_train": LABELS[:0]},
            r"x_train in .* is empty: its shape is \(",
        ),
        ({"x_train": 5}, r"x_train in .* is empty: its shape is \(\)"),
        ({"x_train": IMAGES[:, :, :0]}, r"has images of 0 pixels: its shape is \(20, 18, 0\)"),
        ({"x_train": IMAGES[0]}, r"has the shape \(18, 16\); it must be \(n, height, width\)"),
        ({"x_train": noise(20, 3, 18, 16)}, "Move the channels to the end"),
        ({"x_test": noise(4, 16, 16)}, r"images of shape \(18, 16\), but x_test of shape \(16, 16"),
        (
            {"x_train": _LONG_SIDE, "x_test": _LONG_SIDE[:4]},
            "225x16 pixels; at most 224 .* add --i",
        ),
        ({"x_train": np.full((20, 18, 16), np.nan)}, r"pixels that are not finite .*Replace them"),
        ({"x_train": IMAGES / 250}, r"pixels up to 1\.02, neither from 0 to 1 nor to 255\. Clip"),
        ({"x_train": IMAGES - 1.0}, "pixels from -1 to 254; they must be from 0 to 255"),
        ({"x_train": IMAGES * np.int64(300)}, "pixels from 0 to 76500; they must be"),
        ({"x_train": IMAGES / 255}, "x_train in .* and x_test are not scaled alike"),
        ({"x_train": IMAGES.astype("U")}, "x_train in .* is <U3; images must be integers"),
        ({"x_train": IMAGES.astype(object)}, "x_train in .* holds pickled objects.*never read"),
        ({"y_train": LABELS.astype(object)}, r"y_train in .* holds pickled objects.*astype\(str\)"),
        ({"y_train": LABELS + 0.5}, "y_train in .* has labels that are not whole numbers"),
        ({"y_train": LABELS * np.nan}, "y_train in .* has labels that are not whole numbers"),
        ({"y_train": LABELS * 1j}, r"y_train in .* is complex128\(20,\); labels must be integers"),
        (
            {"y_train": np.ones((20, 2))},
            r"y_train in .* has the shape \(20, 2\), but is not one-hot",
        ),
        ({"y_train": LABELS * 0}, "classes in y_train in .* is 1; it must be from 2 to 256"),
        ({"y_train": np.arange(20) // 19}, "has 1 usable training images of class '1'; .* least 2"),
        ({"y_test": [0, 1, 0, 5]}, "the test part has the class 5, which the training part lacks"),
        ({"y_test": list("abcd")}, "the test part has the class 'a', which the training part lack"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        whole(tmp_path, **changes)


def test_two_classes_whose_names_look_alike_are_refused(tmp_path):
    labels = np.where(LABELS == 1, "a\n", "a\\n")
    with pytest.raises(DataError, match=r"has more than one class named .*; rename all but one"):
        whole(tmp_path, y_train=labels, y_test=labels[:4])


@pytest.mark.parametrize(("name", "count"), [("", "0 letters"), ("a" * 256, "256 letters")])
def test_a_class_whose_name_no_model_could_have_is_refused(tmp_path, name, count):
    labels = np.where(LABELS == 1, name, "b")
    with pytest.raises(DataError, match=f"with a name of {count}; a name must have from 1 to 255"):
        whole(tmp_path, y_train=labels, y_test=labels[:4])


def test_more_classes_than_a_byte_has_values_are_refused(tmp_path):
    with pytest.raises(DataError, match="is 257; it must be from 2 to 256"):
        opened(tmp_path, x_train=np.zeros((257, 16, 16), np.uint8), y_train=np.arange(257))


def test_copies_alone_are_no_test_part(tmp_path):
    with pytest.raises(DataError, match="no image that could be set aside for one: each occurs se"):
        opened(tmp_path, x_train=np.zeros((20, 16, 16), np.uint8), y_train=LABELS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES, "labels": LABELS}, "has no x_train, but images, labels. It needs x_tr"),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "has no y_test, but x_test, x_"),
        ({}, "has no x_train, but no arrays at all"),
    ],
)
def test_other_keys_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        opened(tmp_path, **arrays)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_MOST_BYTES", 1000)
    with pytest.raises(DataError, match="GiB unpacked; at most"):
        opened(tmp_path, x_train=np.zeros((2, 400, 400)), y_train=LABELS[:2])


@pytest.mark.parametrize(
    ("limit", "images", "message"),
    [
        (
            "_MOST_ROW",
            IMAGES,
            "x_train in .* has rows of 0 MiB; at most 0 MiB can be used. Save sm",
        ),
        (
            "_MOST_AT_ONCE",
            np.asfortranarray(IMAGES),
            r"x_train in .* is stored column by column and takes .* GiB can. Save .*ascontiguous",
        ),
    ],
)
def test_arrays_that_need_much_memory_at_once_are_refused(
    tmp_path, monkeypatch, limit, images, message
):
    monkeypatch.setattr(zipped, limit, 200)
    with pytest.raises(DataError, match=message):
        opened(tmp_path, 16, x_train=images / 255, y_train=LABELS)


def test_labels_that_need_much_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zipped, "_MOST_AT_ONCE", 100)
    with pytest.raises(DataError, match=r"y_train in .* takes .* at once; .* labels as integers"):
        opened(tmp_path, x_train=IMAGES, y_train=LABELS)


def refuse(file: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(str(file))


def test_a_header_that_lies_about_its_array_is_refused(tmp_path):
    whole(tmp_path)
    with zipfile.ZipFile(tmp_path / "some.npz") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    changed = contents["x_train.npy"].replace(b"(20, 18, 16)", b"(20, 99, 16)")
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        for name, content in (contents | {"x_train.npy": changed}).items():
            archive.writestr(name, content)
    refuse(
        tmp_path / "lie.npz", r"x_train in .* has 5760 bytes of data for its shape \(20, 99, 16\)"
    )


@pytest.mark.parametrize(
    "header",
    [
        "{[]: 1}",
        "{1: 2, 'a': 3}",
        "{'descr': (), 'fortran_order': False, 'shape': (20,)}",
        "{'descr': (",
        "-" * 7000,
    ],
    ids=lambda header: header[:12],
)
def test_a_header_that_numpy_cannot_evaluate_is_refused(tmp_path, header):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        size = len(header).to_bytes(2, "little")
        archive.writestr("x_train.npy", b"\x93NUMPY\x01\x00" + size + header.encode())
        archive.writestr("y_train.npy", b"")
    refuse(tmp_path / "a.npz", r"cannot read .*a\.npz \(.*\)\. Save it again with")


def test_files_that_are_no_archives_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no archive")
    refuse(tmp_path / "a.npz", r"cannot read .*a.npz \(File is not a zip file\). Save it again")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x_train.npy", b"no array")
        archive.writestr("y_train.npy", b"no array")
    refuse(tmp_path / "b.npz", r"cannot read .*b.npz \(.*magic")
    whole(tmp_path)
    content = bytearray((tmp_path / "some.npz").read_bytes())
    content[200:300] = bytes(100)
    (tmp_path / "c.npz").write_bytes(content)
    refuse(tmp_path / "c.npz", "cannot read .*c.npz")


def test_members_without_the_suffix_of_arrays_are_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x_train", b"")
        archive.writestr("y_train.npy", b"")
    refuse(tmp_path / "a.npz", "a.npz has no x_train, but y_train. It needs x_train and y_train")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    refuse(tmp_path / "a.npz", "a.npz is a named pipe; name an .npz file")


def test_a_file_that_cannot_be_opened_is_refused(tmp_path, monkeypatch):
    whole(tmp_path)

    def fail(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    refuse(tmp_path / "some.npz", r"cannot read .*some.npz \(Permission denied\); check the file")


def test_training_images_that_are_in_the_test_part_are_left_out(tmp_path):
    dataset = whole(tmp_path, x_test=IMAGES[3:5], y_test=[1, 0])
    assert len(dataset.training()) == 18
    assert len(dataset.files.test()) == 2
    assert "left out training images that are in the test part too: 2" in dataset.notes


def test_without_a_test_part_a_stratified_one_is_set_aside(tmp_path):
    labels = np.repeat([0, 1, 2], [100, 40, 3])
    images = noise(143, 16, 16)
    images[98:100] = images[96:98]  # these four stay in training
    dataset = opened(tmp_path, x_train=images, y_train=labels)
    test = dataset.files.test()
    assert np.bincount(test.labels).tolist() == [15, 6, 1]
    assert np.bincount(dataset.training().labels).tolist() == [85, 34, 2]
    training = {image.tobytes() for image in dataset.training().images}
    assert not any(image.tobytes() in training for image in test.images)
    assert "no test part: 22 of 143 images are set aside for it" in dataset.notes
    again = opened(tmp_path, x_train=images, y_train=labels, unused=1)
    assert np.array_equal(again.files.test().images, test.images)
