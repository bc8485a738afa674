"""Files written whole, and locks."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from search.errors import StorageError
from search.files import (
    is_locked,
    locked,
    read_limited,
    refuse_links,
    replace_folder,
    write_atomically,
)


def test_a_file_of_another_kind_or_size_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_bytes(b"{} ")
    assert read_limited(file, 3) == b"{} "
    file.write_bytes(b" " * (2 * 10**6 + 1))
    with pytest.raises(ValueError, match=r"^it is larger than 2 MB$"):
        read_limited(file, 2 * 10**6)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"^it is a named pipe$"):
        read_limited(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        read_limited(tmp_path / "none")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "record"
    write_atomically(file, b"old")
    write_atomically(file, b"new")
    assert file.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["record"]


def test_a_new_file_has_the_rights_that_the_user_wants(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "record", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o640


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "record"
    write_atomically(file, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["record"]


def test_a_folder_is_replaced_whole_and_the_old_one_lies_aside(tmp_path: Path) -> None:
    target, aside = tmp_path / "target", tmp_path / "aside"
    for name in ("first", "second"):
        (tmp_path / "fresh").mkdir()
        (tmp_path / "fresh" / name).touch()
        replace_folder(tmp_path / "fresh", target, aside)
        assert os.listdir(target) == [name]
    assert os.listdir(aside) == ["first"]
    assert set(os.listdir(tmp_path)) == {"target", "aside"}


def test_a_lock_refuses_a_second_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "lock"):
        with (
            locked(path, ValueError),
            pytest.raises(ValueError, match="this process"),
            locked(path, ValueError),
        ):
            pass
        with locked(path, ValueError):
            pass


def test_a_killed_holder_releases_its_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", theirs))
    holder.start()
    assert ours.recv() == "held"
    refused = pytest.raises(ValueError, match=f"^process {holder.pid}$")
    with refused, locked(tmp_path / "lock", ValueError):
        pass
    holder.kill()
    holder.join()
    with locked(tmp_path / "lock", ValueError):
        pass


def test_a_look_at_a_lock_keeps_nobody_from_taking_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # as `is_locked` of another process
    monkeypatch.setattr(time, "sleep", lambda seconds: fcntl.flock(descriptor, fcntl.LOCK_UN))
    with locked(tmp_path, ValueError):
        assert is_locked(tmp_path)
    os.close(descriptor)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*arguments: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    message = r"^the file system of the study's folder has no file locks \(.+\); use --results-dir"
    with pytest.raises(StorageError, match=message), locked(tmp_path, ValueError):
        pass
    with pytest.raises(StorageError, match=message):
        is_locked(tmp_path)


def _hold(file: Path, connection: object) -> None:
    with locked(file, ValueError):
        connection.send("held")  # type: ignore[attr-defined]
        connection.recv()  # type: ignore[attr-defined]


def study_folder(folder: Path) -> None:
    for name in ("logs/worker-0.log", "retrainings/key/record.json", "study.journal"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


@pytest.mark.parametrize("name", ["retrainings", "logs/worker-0.log", "report", ".writable", "a/b"])
@pytest.mark.parametrize("target", ["outside", "missing", "study/study.journal"])
def test_a_link_inside_a_folder_is_refused(tmp_path: Path, name: str, target: str) -> None:
    folder = tmp_path / "study"
    study_folder(folder)
    refuse_links(folder)
    (tmp_path / "outside").mkdir()
    link = folder / name
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / target)
    with pytest.raises(StorageError, match=f"{link} is a symbolic link, a pipe or a device; these"):
        refuse_links(folder)


def test_a_pipe_which_would_be_waited_for_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "record.json")
    with pytest.raises(StorageError, match=r"record\.json is a symbolic link, a pipe or a device"):
        refuse_links(tmp_path)


def test_the_folder_itself_may_be_a_link_and_so_may_the_lock_of_a_journal(tmp_path: Path) -> None:
    study_folder(tmp_path / "elsewhere")
    (tmp_path / "study").symlink_to("elsewhere")
    (tmp_path / "elsewhere" / "study.journal.lock").symlink_to("study.journal")
    refuse_links(tmp_path / "study")
    refuse_links(tmp_path / "missing")
