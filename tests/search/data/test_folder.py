"""Folders of image files: layouts, decoding, and what is ignored, left out or refused."""

import os
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.data import folder, pictures
from search.data.dataset import Dataset
from search.data.formats import open_dataset
from search.data.split import SplitSizes, load_split
from search.errors import DataError
from tests.search.data.pictures import noise, write_pictures


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with ten pictures each."""
    write_pictures(tmp_path / "photos/cat", 10)
    write_pictures(tmp_path / "photos/dog", 10, seed=1)
    return tmp_path / "photos"


def opened(photos: Path, **settings: Any) -> Dataset:
    settings = {"cache": photos.parent / "cache", "quiet": True} | settings
    return open_dataset(str(photos), **settings)


def refuse(photos: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(photos)


def test_folders_are_classes_and_a_test_part_is_set_aside(photos):
    dataset = opened(photos)
    assert dataset.name == "photos"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_shape == (20, 20, 3)
    assert np.bincount(dataset.training().labels).tolist() == [8, 8]
    assert np.bincount(dataset.files.test().labels).tolist() == [2, 2]
    assert dataset.notes == (
        "images are resized to 20x20 pixels (the median of their shorter edges is 20; change it "
        "with --image-size)",
        "no test part: 4 of 20 images are set aside for it",
    )
    assert load_split(dataset, SplitSizes(val=4)).train_images.shape == (12, 20, 20, 3)


def test_parts_are_folders_of_folders_and_validation_joins_training(tmp_path):
    for seed, (part, count) in enumerate([("train", 8), ("val", 3), ("test", 2)]):
        for number, name in enumerate(("cat", "dog")):
            write_pictures(tmp_path / f"photos/{part}/{name}", count, seed=10 * seed + number)
    write_pictures(tmp_path / "photos/other/cat", 1, seed=99)
    dataset = opened(tmp_path / "photos")
    assert dataset.class_names == ("cat", "dog")
    assert np.bincount(dataset.training().labels).tolist() == [11, 11]
    assert np.bincount(dataset.files.test().labels).tolist() == [2, 2]
    assert "ignored folders, neither class nor part: other" in dataset.notes


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("Train", "Val", "Test"), ("training", "valid", "testing"), ("TRAIN", "validation", "test")],
)
def test_parts_may_have_other_names_in_any_case(tmp_path, train, val, test):
    for seed, (part, count) in enumerate([(train, 8), (val, 3), (test, 2)]):
        for number, name in enumerate(("cat", "dog")):
            write_pictures(tmp_path / f"photos/{part}/{name}", count, seed=10 * seed + number)
    dataset = opened(tmp_path / "photos")
    assert dataset.class_names == ("cat", "dog")
    assert (len(dataset.training()), len(dataset.files.test())) == (22, 4)


def test_a_test_part_without_classes_is_none(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        write_pictures(tmp_path / f"photos/train/{name}", 10, seed=number)
    write_pictures(tmp_path / "photos/test", 3, seed=9)
    dataset = opened(tmp_path / "photos")
    assert len(dataset.files.test()) == 4
    assert "ignored folders, neither class nor part: test" in dataset.notes


def test_a_class_may_be_called_train(tmp_path):
    for number, name in enumerate(("train", "ship")):
        write_pictures(tmp_path / "photos" / name, 10, seed=number)
    assert opened(tmp_path / "photos").class_names == ("ship", "train")


def test_the_size_is_the_median_of_the_shorter_edges_from_16_to_96(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        write_pictures(tmp_path / "small" / name, 10, size=(9, 30), seed=number)
        write_pictures(tmp_path / "large" / name, 10, size=(99, 120), seed=number)
    assert opened(tmp_path / "small").image_shape == (16, 16, 3)
    assert opened(tmp_path / "large").image_shape == (96, 96, 3)
    chosen = opened(tmp_path / "large", image_size=32)
    assert chosen.image_shape == (32, 32, 3)
    assert chosen.source == {
        "data": str(tmp_path / "large"),
        "image_size": 32,
        "mirror": None,
    }
    assert not any("resized" in note for note in chosen.notes)


def test_grey_pictures_have_one_channel_even_if_saved_in_colour(tmp_path):
    for name, seed in (("cat", 0), ("dog", 1)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, pixels in enumerate(noise(10, 20, 20, seed=seed)):
            grey = Image.fromarray(pixels)
            image = grey.convert("RGB") if number % 2 else grey
            image.save(tmp_path / "photos" / name / f"{number}.png")
    dataset = opened(tmp_path / "photos")
    assert dataset.image_shape == (20, 20, 1)
    written = {image.tobytes() for seed in (0, 1) for image in noise(10, 20, 20, seed=seed)}
    assert {image.tobytes() for image in dataset.training().images} <= written


def test_every_format_is_read_also_without_its_suffix(photos):
    write_pictures(photos / "cat/more", 1, seed=5)
    image = Image.open(photos / "cat/more/000.png")
    for number, name in enumerate(("JPEG", "WEBP", "BMP", "GIF", "TIFF", "PNG")):
        image.rotate(number).save(photos / "cat" / f"picture-{number}", name)
    image.convert("L").save(photos / "cat/grey.jpg")
    image.convert("RGBA").save(photos / "cat/alpha.png")
    image.convert("P").save(photos / "cat/palette.gif")
    dataset = opened(photos)
    total = len(dataset.training()) + len(dataset.files.test())
    assert total == 20 + 1 + 6 + 3 - 2  # two are as the first: turned by 0 degrees, and opaque


def test_pictures_are_turned_as_their_exif_tag_says(photos):
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10] = 255
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(photos / "cat/turned.png", exif=exif)
    dataset = opened(photos, image_size=20)
    images = np.concatenate([dataset.training().images, dataset.files.test().images])
    assert any(np.array_equal(image, np.rot90(pixels, -1)) for image in images)


def test_large_pictures_are_decoded_one_at_a_time(photos, monkeypatch):
    held, most = [], []
    shrunk = pictures._shrunk

    def watched(image: Image.Image) -> Image.Image:
        held.append(image)
        most.append(len(held))
        time.sleep(0.002)
        held.remove(image)
        return shrunk(image)

    monkeypatch.setattr(pictures, "_shrunk", watched)
    monkeypatch.setattr(folder.joblib, "cpu_count", lambda: 4)
    monkeypatch.setattr(pictures, "_LARGE", 479)  # they have 480 pixels
    opened(photos)
    assert max(most) == 1
    assert len(most) == 20


def test_the_same_picture_counts_once_and_not_in_two_classes(photos):
    shutil.copy(photos / "cat/000.png", photos / "cat/again.png")
    Image.open(photos / "cat/001.png").save(photos / "cat/again.bmp")
    write_pictures(photos / "dog/more", 2, seed=7)
    write_pictures(photos / "cat/more", 1, seed=7)
    dataset = opened(photos)
    assert len(dataset.training()) + len(dataset.files.test()) == 10 + 10 + 1
    assert "left out images that repeat another one: 3" in dataset.notes
    assert "left out images that are in several classes: 1" in dataset.notes


def test_a_test_part_whose_pictures_are_all_in_two_classes_is_refused(photos):
    for name in ("cat", "dog"):
        write_pictures(photos / "test" / name, 2, seed=7)
        shutil.move(photos / name, photos / "train" / name)
    with pytest.raises(DataError, match=r"each image of the test part occurs in two classes, so"):
        opened(photos)


def test_training_pictures_that_are_in_the_test_part_too_are_left_out(photos):
    write_pictures(photos / "train/cat", 12, seed=2)
    shutil.move(photos / "dog", photos / "train/dog")
    shutil.rmtree(photos / "cat")
    write_pictures(photos / "test/cat", 2, seed=2)
    dataset = opened(photos)
    assert np.bincount(dataset.training().labels).tolist() == [10, 10]
    assert "left out training images that are in the test part too: 2" in dataset.notes


def test_unreadable_files_are_listed_and_left_out(photos):
    write_pictures(photos / "cat/more", 20, seed=3)
    (photos / "cat/empty.jpg").write_bytes(b"")
    content = (photos / "dog/000.png").read_bytes()
    (photos / "dog/trunc\nated.png").write_bytes(content[: len(content) // 2])
    dataset = opened(photos)
    assert len(dataset.training()) + len(dataset.files.test()) == 40
    left_out = [note for note in dataset.notes if note.startswith("left out: ")]
    assert len(left_out) == 2
    assert "empty.jpg is not a readable image" in left_out[0]
    assert "trunc\\nated.png is damaged or truncated" in left_out[1]


def test_of_many_unreadable_files_the_first_are_listed(photos, monkeypatch):
    monkeypatch.setattr(folder, "_LISTED", 1)
    monkeypatch.setattr(folder, "_MOST_UNREADABLE", 0.5)
    for number in range(3):
        (photos / f"cat/{number}.jpg").write_bytes(b"")
    assert "left out: and 2 more unreadable files" in opened(photos).notes


def test_too_many_unreadable_files_are_refused(photos):
    (photos / "cat/a.jpg").write_bytes(b"")
    (photos / "cat/b.heic").write_bytes(b"")
    refuse(photos, r"photos: 2 of 22 image files cannot be read, more than 5%; the first: .*a\.jpg")


def test_a_decompression_bomb_is_left_out_unopened(photos, monkeypatch):
    write_pictures(photos / "cat/more", 20, seed=3)
    Image.new("1", (20_000, 16)).save(photos / "cat/bomb.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notes = opened(photos).notes
    assert any("bomb.png is too large (20,000 x 16 pixels" in note for note in notes)


def test_a_class_that_is_left_with_too_few_pictures_is_refused(photos):
    (photos / "cat/000.png").unlink()
    refuse(photos, "has 9 usable training images of class 'cat'; every class needs at least 10")
    for file in (photos / "cat").iterdir():
        if file.name != "001.png":
            file.unlink()
    refuse(photos, "has 1 usable training images of class 'cat'")


def test_a_folder_without_classes_is_refused(tmp_path):
    write_pictures(tmp_path / "photos", 3)
    refuse(
        tmp_path / "photos", r"has no folders with images: .*photos/CLASS/\*\.jpg or .*train,val"
    )
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "has no folders with images")


def test_one_class_is_refused(photos):
    shutil.rmtree(photos / "dog")
    refuse(photos, "number of classes in .*photos is 1; it must be from 2 to 256")


def test_a_test_part_without_a_training_part_is_refused(photos):
    write_pictures(photos / "Test/cat", 2)
    refuse(photos, "has a folder Test with classes, but no folder train; rename the folder of")


def test_a_test_class_that_training_lacks_is_refused(photos):
    for name in ("cat", "dog"):
        shutil.move(photos / name, photos / "train" / name)
    write_pictures(photos / "test/co\nw", 2, seed=5)
    refuse(photos, r"the test part of .* has the class 'co\\\\nw', which the training part lacks")


def test_a_part_without_a_readable_image_is_refused(photos, monkeypatch):
    monkeypatch.setattr(folder, "_MOST_UNREADABLE", 0.5)
    for name in ("cat", "dog"):
        shutil.move(photos / name, photos / "train" / name)
    (photos / "test/cat").mkdir(parents=True)
    (photos / "test/cat/a.png").write_bytes(b"")
    refuse(photos, "has no image that can be read in its training or its test part")


def test_what_is_no_picture_is_ignored_and_counted(photos):
    (photos / "README.txt").write_text("cats")
    (photos / ".hidden").mkdir()
    (photos / "notes").mkdir()
    (photos / "notes/a.csv").write_text("1")
    (photos / "cat/labels.csv").write_text("1")
    (photos / "cat/.DS_Store").write_text("1")
    os.mkfifo(photos / "cat/pipe.png")
    notes = opened(photos).notes
    assert "ignored files that are not images: 3" in notes
    assert "ignored folders, neither class nor part: notes" in notes
    assert len(opened(photos).class_names) == 2


def test_dark_images_are_mentioned(photos):
    assert not [note for note in opened(photos).notes if "brightest" in note]
    for file in photos.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(file)) // 16).save(file)
    (note,) = [note for note in opened(photos).notes if "brightest" in note]
    assert "; grey of 16 bits is scaled by 65,535, so save images of 12 bits" in note


def test_results_among_the_classes_are_no_class(photos):
    first = opened(photos)
    write_pictures(photos / "results/cnn/report", 12, seed=9)
    (photos / "results/.data").mkdir()
    write_pictures(photos / "older/cnn/report", 12, seed=8)
    (photos / "older/cnn/study.journal").write_text("")
    second = opened(photos)
    assert second.class_names == ("cat", "dog")
    assert second.files == first.files  # the data has not changed


def test_links_to_files_are_followed_and_links_to_folders_are_not(photos, tmp_path):
    write_pictures(tmp_path / "elsewhere", 20, seed=9)
    for file in (tmp_path / "elsewhere").iterdir():
        (photos / "cat" / f"linked-{file.name}").symlink_to(file)
    (photos / "cat/circle").symlink_to(photos)
    (photos / "bird").symlink_to(tmp_path / "elsewhere")
    (photos / "cat/loop.png").symlink_to("loop.png")
    dataset = opened(photos)
    assert dataset.class_names == ("cat", "dog")
    assert len(dataset.training()) + len(dataset.files.test()) == 40
    assert "links to folders, which are not followed: 2" in dataset.notes
    assert any("loop.png" in note and note.startswith("left out") for note in dataset.notes)


def test_classes_that_are_links_are_not_followed_and_the_error_says_so(tmp_path):
    (tmp_path / "photos").mkdir()
    write_pictures(tmp_path / "elsewhere", 1)
    (tmp_path / "photos/cat").symlink_to(tmp_path / "elsewhere")
    refuse(
        tmp_path / "photos", r"has no folders with images.*\(1 links to folders are not followed"
    )


def test_names_may_have_line_breaks_and_bytes_that_are_not_utf_8(tmp_path):
    for number, name in enumerate((b"a\nb", b"caf\xe9")):
        write_pictures(tmp_path / "photos" / os.fsdecode(name), 10, seed=number)
    dataset = opened(tmp_path / "photos")
    assert dataset.class_names == ("a\\nb", "caf\\udce9")
    root = Path(shutil.move(tmp_path / "photos", tmp_path / os.fsdecode(b"fot\xf3")))
    assert opened(root).name == "fot\\udcf3"


def test_a_folder_that_cannot_be_read_is_named(photos, monkeypatch):
    scan = os.scandir

    def fail(path: Any) -> Any:
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", fail)
    refuse(photos, "cannot read the folder .*cat .Permission denied.; check its permissions")
    monkeypatch.setattr(os, "scandir", lambda path: fail("cat"))
    refuse(photos, "cannot read the folder cat")


def test_a_read_only_folder_is_read(photos):
    photos.chmod(0o555)
    try:
        assert len(opened(photos).class_names) == 2
    finally:
        photos.chmod(0o755)


def test_pictures_are_decoded_once_and_again_when_a_file_changes(photos, monkeypatch):
    decoded = []
    resized = folder.resized
    monkeypatch.setattr(folder, "resized", lambda *args: decoded.append(1) or resized(*args))
    first = opened(photos)
    assert len(decoded) == 20
    second = opened(photos)
    assert len(decoded) == 20
    assert (second.fingerprint, second.notes) == (first.fingerprint, first.notes)
    write_pictures(photos / "cat/more", 1, seed=5)
    third = opened(photos)
    assert len(decoded) == 41
    assert third.fingerprint != first.fingerprint
    assert len(first.training()) == 16  # a search that began with them goes on
    assert len(first.files.test()) == 4


def test_the_same_files_elsewhere_are_the_same_data(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "other")
    assert opened(tmp_path / "other").fingerprint == opened(photos).fingerprint
    (tmp_path / "other/cat").rename(tmp_path / "other/bat")  # names of classes belong to it
    assert opened(tmp_path / "other").fingerprint != opened(photos).fingerprint


def test_progress_is_a_line_where_there_is_no_terminal(photos, capsys):
    opened(photos, quiet=False)
    assert capsys.readouterr().err.splitlines() == [
        f"measuring {photos}: 20 files",
        f"decoding {photos}: 20 files",
    ]
    opened(photos, quiet=False)
    assert capsys.readouterr().err == ""


def test_progress_is_a_bar_on_a_terminal(photos, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    opened(photos, quiet=False)
    assert "decoding" in capsys.readouterr().err
