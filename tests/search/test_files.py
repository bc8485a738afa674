"""Files written whole, and locks."""

import multiprocessing
import os
from pathlib import Path

import pytest

from search.files import locked, write_atomically


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


def test_a_lock_refuses_a_second_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    file, refusal = tmp_path / "lock", ValueError("in use")
    with locked(file, refusal), pytest.raises(ValueError, match="in use"), locked(file, refusal):
        pass
    with locked(file, refusal):
        pass


def test_a_killed_holder_releases_its_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", theirs))
    holder.start()
    assert ours.recv() == "held"
    with pytest.raises(ValueError, match="in use"), locked(tmp_path / "lock", ValueError("in use")):
        pass
    holder.kill()
    holder.join()
    with locked(tmp_path / "lock", ValueError("in use")):
        pass


def _hold(file: Path, connection: object) -> None:
    with locked(file, ValueError("in use")):
        connection.send("held")  # type: ignore[attr-defined]
        connection.recv()  # type: ignore[attr-defined]
