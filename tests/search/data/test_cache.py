"""The cache: made anew when it is damaged, written whole, and elsewhere if it cannot be written."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.data import cache as cache_module
from search.data.cache import open_cached
from search.data.dataset import Dataset, LabeledImages
from search.data.parts import Parts
from search.errors import DataError
from tests.search.data.pictures import noise


def parts(scratch: Path) -> Parts:
    images, labels = noise(40, 16, 16, 1), np.arange(40, dtype=np.uint8) % 2
    return Parts(
        train=LabeledImages(images=images, labels=labels), test=None, class_names=("a", "b")
    )


def opened(cache: Path | None, **changes: Any) -> Dataset:
    settings = {"name": "na/me", "where": "W", "key": "k", "stamp": "s", "read": parts}
    return open_cached(cache, **settings | changes)


def never(scratch: Path) -> Parts:
    raise AssertionError("the cache was not used")


def test_a_cached_data_set_is_not_read_again(tmp_path):
    first = opened(tmp_path)
    second = opened(tmp_path, read=never)
    assert second.fingerprint == first.fingerprint
    assert second.training().images.base is not None  # mapped into memory
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("na_me-")
    assert folder.stat().st_mode & 0o055 == 0o055 & ~os.umask(os.umask(0))


@pytest.mark.parametrize("changed", [{"key": "other"}, {"stamp": "other"}])
def test_another_state_or_other_settings_are_read_anew(tmp_path, changed):
    opened(tmp_path)
    with pytest.raises(AssertionError, match="not used"):
        opened(tmp_path, read=never, **changed)
    opened(tmp_path, **changed)
    opened(tmp_path, read=never, **changed)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("facts.json", b"{"),
        ("facts.json", b"[]"),
        ("facts.json", b"{}"),
        ("train-images.npy", b""),
        ("test-labels.npy", None),
    ],
)
def test_a_damaged_folder_is_made_anew(tmp_path, name, content):
    first = opened(tmp_path)
    file = next(tmp_path.glob(f"*/{name}"))
    file.unlink() if content is None else file.write_bytes(content)
    assert opened(tmp_path).fingerprint == first.fingerprint
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": [1, 2]},
        {"class_names": "ab"},
        {"class_names": ["a", "a"]},
        {"class_names": ["a", "\x1b[31mb"]},
        {"class_names": ["a"]},
        {"class_names": None},
        {"pixels": None},
        {"pixels": {"mean": [0.5, 0.5], "deviation": [0.1, 0.1]}},
        {"pixels": {"mean": [1.5], "deviation": [0.1]}},
        {"pixels": {"mean": [float("nan")], "deviation": [0.1]}},
        {"pixels": {"mean": [10**400], "deviation": [0.1]}},
        {"pixels": {"mean": ["0.5"], "deviation": [0.1]}},
        {"pixels": {"mean": [0.5], "deviation": [0.1], "patches": [[0.1]]}},
        {"notes": ["a\nb"]},
        {"notes": [["a"]]},
        {"notes": "a"},
        {"fingerprint": 5},
        {"test_fingerprint": None},
        {"sizes": []},
    ],
    ids=str,
)
def test_made_up_facts_are_not_used(tmp_path, changes):
    first = opened(tmp_path)
    file = next(tmp_path.glob("*/facts.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    second = opened(tmp_path)
    assert (second.class_names, second.notes) == (first.class_names, first.notes)
    assert (second.fingerprint, second.pixels) == (first.fingerprint, first.pixels)
    assert opened(tmp_path, read=never).fact == first.fact


def test_facts_that_are_too_deep_or_too_long_are_not_used(tmp_path):
    opened(tmp_path)
    file = next(tmp_path.glob("*/facts.json"))
    file.write_text("[" * 100_000)
    opened(tmp_path)
    file.write_text(file.read_text() + " " * 10**7)
    with pytest.raises(AssertionError, match="not used"):
        opened(tmp_path, read=never)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("train-labels", np.full(34, 77, np.uint8)),
        ("test-labels", np.full(6, 2, np.uint8)),
        ("train-labels", np.zeros(34, np.int16)),
        ("test-images", noise(6, 17, 16, 1)),
        ("train-images", noise(34, 16, 16, 2)),
    ],
)
def test_made_up_arrays_are_not_used(tmp_path, name, array):
    first = opened(tmp_path)
    folder = first.files.directory
    np.save(folder / f"{name}.npy", array)
    facts = json.loads((folder / "facts.json").read_text())
    facts["sizes"][f"{name}.npy"] = (folder / f"{name}.npy").stat().st_size
    (folder / "facts.json").write_text(json.dumps(facts))
    with pytest.raises(AssertionError, match="not used"):
        opened(tmp_path, read=never)
    opened(tmp_path).training()


def test_a_test_part_that_has_changed_is_refused(tmp_path):
    dataset = opened(tmp_path)
    file = dataset.files.directory / "test-labels.npy"
    np.save(file, 1 - np.load(file))
    with pytest.raises(DataError, match=r"the test part in .* has changed since"):
        dataset.files.test()


@pytest.mark.parametrize("name", ["facts.json", "train-images.npy", "test-labels.npy"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_and_pipes_in_the_cache_are_not_followed(tmp_path, name, kind):
    cache = tmp_path / "cache"
    dataset = opened(cache)
    file = dataset.files.directory / name
    file.rename(tmp_path / name)
    file.symlink_to(tmp_path / name) if kind == "link" else os.mkfifo(file)
    if name.startswith("train"):
        with pytest.raises(DataError, match=r"cannot read .*it is a link, or no regular file"):
            dataset.training()
    assert opened(cache).fingerprint == dataset.fingerprint
    assert file.is_file()
    assert not file.is_symlink()
    assert (tmp_path / name).is_file()


def test_a_cache_or_a_folder_of_it_that_is_a_link_is_not_followed(tmp_path):
    folder = opened(tmp_path / "cache").files.directory
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    opened(tmp_path / "cache")
    assert not folder.is_symlink()
    assert (tmp_path / "elsewhere/facts.json").exists()
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    with pytest.raises(DataError, match="link is a symbolic link; images are not unpacked"):
        opened(tmp_path / "link")


def test_a_cache_that_may_not_change_is_used_and_else_left_alone(tmp_path):
    assert len(opened(tmp_path / "cache", create=False).training()) == 34
    assert list(tmp_path.iterdir()) == []
    first = opened(tmp_path / "cache")
    (tmp_path / "cache/.building-old").mkdir()
    os.utime(tmp_path / "cache/.building-old", (0, 0))
    assert opened(tmp_path / "cache", create=False, read=never).files == first.files
    assert not opened(tmp_path / "cache", create=False, stamp="other").notes[:-1]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_temporary_folders_of_killed_processes_are_removed_a_day_later(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, seconds in (("old", 0), ("new", 2**31)):
        (tmp_path / f"unpacked-images-{name}").mkdir()
        os.utime(tmp_path / f"unpacked-images-{name}", (seconds, seconds))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "unpacked-images-link").symlink_to(tmp_path / "elsewhere")
    os.utime(tmp_path / "unpacked-images-link", (0, 0), follow_symlinks=False)
    used = opened(None).files.directory
    os.utime(used.parent, (0, 0))
    opened(None)
    assert used.exists()  # this process holds its lock
    assert (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "unpacked-images-old").exists()
    assert (tmp_path / "unpacked-images-new").exists()


def test_a_search_goes_on_with_its_images_while_the_files_change(tmp_path):
    first = opened(tmp_path)
    second = opened(tmp_path, stamp="other")
    for dataset in (first, second):
        assert len(dataset.training()) == 34
        assert len(dataset.files.test()) == 6
    assert len(list(tmp_path.iterdir())) == 2


def test_of_two_processes_that_read_at_once_the_first_one_counts(tmp_path):
    first = []

    def read(scratch: Path) -> Parts:
        first.append(opened(tmp_path))
        return parts(scratch)

    second = opened(tmp_path, read=read)
    assert second.files == first[0].files
    assert second.training().images.shape == (34, 16, 16, 1)
    assert len(list(tmp_path.iterdir())) == 1


def test_an_earlier_state_that_was_unused_for_a_month_is_removed(tmp_path):
    unused, used, changed = (opened(tmp_path, stamp=stamp) for stamp in "abc")
    other = opened(tmp_path, key="other")
    for dataset in (unused, used, other):
        os.utime(dataset.files.directory, (0, 0))
    used.training()
    opened(tmp_path, stamp="d")
    assert not unused.files.directory.exists()
    assert all(dataset.files.directory.exists() for dataset in (used, changed, other))


def test_files_that_are_damaged_later_are_named(tmp_path):
    dataset = opened(tmp_path)
    for content in (b"", b"\x93NUMPY\x01\x00\x06\x00{[]:1}"):
        next(tmp_path.glob("*/train-labels.npy")).write_bytes(content)
        with pytest.raises(DataError, match=r"cannot read .*train-labels.npy .*will be rebuilt"):
            dataset.files.labels()
    next(tmp_path.glob("*/test-images.npy")).unlink()
    with pytest.raises(DataError, match=r"has no test-images.npy. Remove that folder"):
        dataset.files.require_test()


def test_pickled_objects_in_the_cache_are_never_read(tmp_path):
    dataset = opened(tmp_path)
    np.save(next(tmp_path.glob("*/train-labels.npy")), np.array([object()]), allow_pickle=True)
    with pytest.raises(DataError, match="cannot read"):
        dataset.training()


def test_a_failure_leaves_nothing(tmp_path):
    def fail(scratch: Path) -> Parts:
        raise DataError("no images")

    with pytest.raises(DataError, match="no images"):
        opened(tmp_path, read=fail)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path):
    for name, seconds in (("old", 0), ("new", 2**31)):
        (tmp_path / f".building-{name}").mkdir()
        os.utime(tmp_path / f".building-{name}", (seconds, seconds))
    opened(tmp_path)
    assert [folder.name for folder in tmp_path.glob(".*")] == [".building-new"]


def test_where_nothing_can_be_written_a_temporary_folder_is_used(tmp_path):
    (tmp_path / "file").write_text("")
    dataset = opened(tmp_path / "file/cache")
    assert len(dataset.training()) == 34
    assert "file/cache (" in dataset.notes[0]
    assert "into a temporary folder, and again by the next command" in dataset.notes[0]
    assert len(opened(None).training()) == 34


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "_save", fail)
    with pytest.raises(DataError, match=r"cannot write the images of W into .*No space left.*Make"):
        opened(tmp_path)
    assert list(tmp_path.iterdir()) == []
