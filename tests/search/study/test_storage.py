"""Storages: opened, repaired, and refused in one line that hides passwords."""

import errno
import shutil
import sqlite3
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileSymlinkLock

from search.errors import StorageError
from search.study.storage import (
    _JournalLock,
    open_storage,
    repair_journal,
    storage_errors,
)
from tests.search.harness import load, search


@pytest.mark.parametrize("target", ["gone/study.journal", "study.journal", "busy.journal"])
def test_a_lock_left_during_a_search_is_waited_for_and_then_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr("search.study.storage._LOCK_SECONDS", 0.3)
    journal, busy = tmp_path / "study.journal", tmp_path / "busy.journal"
    storage = open_storage(journal, None)
    (tmp_path / "study.journal.lock").symlink_to(target)
    ended = threading.Event()

    def write_elsewhere() -> None:  # another study's journal, to which the link leads
        while not ended.wait(0.01):
            busy.write_text("")

    writer = threading.Thread(target=write_elsewhere)
    writer.start()
    started = time.monotonic()
    try:
        optuna.create_study(storage=storage)
    finally:
        ended.set()
        writer.join()
    assert 0.3 < time.monotonic() - started < 60


def test_a_process_that_was_too_slow_leaves_the_lock_of_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.storage._LOCK_SECONDS", 0.2)
    slow, next_one, third = (_JournalLock(tmp_path / "study.journal") for _ in range(3))
    slow.acquire()
    next_one.acquire()  # after it has removed the first one
    slow.release()
    assert (tmp_path / "study.journal.lock").is_symlink()
    next_one.release()
    assert not (tmp_path / "study.journal.lock").is_symlink()
    next_one.release()  # it is gone: no error
    third.acquire()
    third.release()


def test_the_lock_of_a_live_process_is_respected(tmp_path: Path) -> None:
    journal, order = tmp_path / "study.journal", []
    storage = open_storage(journal, None)
    live = JournalFileSymlinkLock("study.journal")  # relative, so its link leads nowhere
    live._lock_file = f"{journal}.lock"
    live.acquire()

    def release() -> None:
        order.append("released")
        live.release()

    threading.Timer(0.3, release).start()
    optuna.create_study(storage=storage)
    order.append("written")
    assert order == ["released", "written"]


@pytest.mark.parametrize("keep", [1, 5, 40])
def test_a_torn_last_line_is_cut_off_and_nothing_else_is_lost(tmp_path: Path, keep: int) -> None:
    search(tmp_path, space="conditional", trials=3)
    journal = tmp_path / "study.journal"
    sound = journal.read_bytes()
    last_line = sound.splitlines()[-1]
    journal.write_bytes(sound + last_line[:keep])
    assert repair_journal(journal) == keep
    assert journal.read_bytes() == sound
    study, _ = search(tmp_path, space="conditional", trials=5)
    assert len(study.trials) == 5
    assert len(load(tmp_path).trials) == 5


def test_a_torn_line_that_was_written_on_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    journal.write_bytes(b'{"op_code": 1}\n{"op_co{"op_code": 2}\n')
    assert repair_journal(journal) == len(b'{"op_co{"op_code": 2}\n')
    assert journal.read_bytes() == b'{"op_code": 1}\n'


def test_a_database_of_another_schema_is_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    open_storage(tmp_path / "study.journal", url)
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("update alembic_version set version_num = 'v0.9.0.a'")
    with pytest.raises(StorageError, match="cannot be opened: The runtime optuna version"):
        open_storage(tmp_path / "study.journal", url)


def test_a_torn_line_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    journal.write_bytes(b"{}\n" + b"x" * 200_000)
    assert repair_journal(journal) == 200_000
    assert journal.read_bytes() == b"{}\n"


def test_a_file_of_one_torn_line_becomes_empty(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    journal.write_bytes(b'{"op_co')
    assert repair_journal(journal) == 7
    assert journal.read_bytes() == b""


@pytest.mark.parametrize(
    "content", [b"garbage\n", b"garbage", b"a\nb", b"\xff\x00", b'{"op_code":0}\nx\ny\n']
)
def test_what_is_no_journal_is_never_cut(tmp_path: Path, content: bytes) -> None:
    journal = tmp_path / "study.journal"
    journal.write_bytes(content)
    with pytest.raises(StorageError, match=r"study.journal cannot be read as a study: its line \d"):
        repair_journal(journal)
    assert journal.read_bytes() == content


@pytest.mark.parametrize("bad", ["garbage", '{"op_code":99,"worker_id":""}', '"\\ud800"', "[]"])
def test_a_damaged_line_of_a_journal_is_named_by_its_number(tmp_path: Path, bad: str) -> None:
    search(tmp_path, space="conditional", trials=2)
    journal = tmp_path / "study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:2], f"{bad}\n", *lines[3:]]))
    with pytest.raises(StorageError, match=r"a study: its line 3 is damaged, or not of") as raised:
        open_storage(journal, None)
    assert "Should not reach" not in str(raised.value)


def test_sound_and_missing_journals_are_left_alone(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    assert repair_journal(journal) == 0
    assert not journal.exists()
    journal.write_bytes(b"{}\n")
    assert repair_journal(journal) == 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("what:ever", r"^--storage is not a database URL; write sqlite:///file.db"),
        ("oracle9://me:secret@host/db", r"oracle9://me:\*\*\*@host/db is not a database URL"),
        (
            "postgresql://me:secret@localhost/db",
            r"me:\*\*\*@.* needs a driver .*pip install -r req",
        ),
        (
            "mysql+pymysql://me:secret@localhost/db",
            r"me:\*\*\*@.* needs a driver .*distributed.txt",
        ),
        (
            "postgresql://me:secret@host:port/db",
            r"^--storage postgresql://me:\*\*\*@\*\*\* is not a",
        ),
        ("postgresql://me:a@secret:b@host:5432/db", r"me:\*\*\*@host:5432/db has an extra @: only"),
        ("postgresql://me@host/db?token=a@secret", r"postgresql://\*\*\* has an extra @: only"),
        ("sqlite:///study.db?check_same_thread=maybe", r"=maybe has an option that its driver"),
        ("sqlite:////dev/null/study.db", r"cannot be opened: there is no folder /dev/null\. Name"),
        ("sqlite:////tmp", r"--storage sqlite:////tmp cannot be opened: it is a folder\."),
        *(
            (
                url,
                r"^--storage sqlite.* names no file, so the study would be lost .*///file\.db",
            )
            for url in (
                *("sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///?timeout=5"),
                "sqlite+pysqlite:///:memory:",
                "sqlite:///file::memory:?cache=shared&uri=true",
                "sqlite:///file:study.db?mode=memory&uri=true",
            )
        ),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line(
    tmp_path: Path, url: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for driver in ("psycopg", "pymysql"):
        monkeypatch.setitem(sys.modules, driver, None)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with pytest.raises(StorageError, match=message) as raised:
        open_storage(tmp_path / "study.journal", url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_study_that_optuna_cannot_read_is_one_line(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    for line in ("[]", '{"op_code": 99}', '{"op_code": 0}', "[" * 100_000, "\x1b[31m", '"\\ud800"'):
        journal.write_text(f"{line}\n{line}\n")
        with pytest.raises(
            StorageError, match=r"study.journal cannot be read as a study"
        ) as raised:
            open_storage(journal, None)
        assert str(raised.value).isprintable()


def test_what_was_deleted_is_named_and_nothing_is_promised(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "cnn"
    folder.mkdir(parents=True)
    journal = folder / "study.journal"
    storage = open_storage(journal, None)
    artifacts = folder / "artifacts"
    for gone, use in (
        (artifacts, lambda: (artifacts / "picture").write_bytes(b"")),
        (tmp_path / "results", lambda: optuna.create_study(storage=storage)),
    ):
        shutil.rmtree(gone, ignore_errors=True)
        with (
            pytest.raises(
                StorageError, match=f"^{gone} is gone: .* run the same command"
            ) as raised,
            storage_errors(str(journal)),
        ):
            use()
        assert "lost" not in str(raised.value)


def test_a_file_that_cannot_be_written_is_named_in_place_of_the_journal(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("")
    with (
        pytest.raises(StorageError, match=r"^.*/artifacts/picture cannot be read or written"),
        storage_errors(str(tmp_path / "study.journal")),
    ):
        (tmp_path / "artifacts" / "picture").write_bytes(b"")


def test_a_folder_in_place_of_a_file_is_to_be_moved_away(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    journal.mkdir()
    with pytest.raises(StorageError, match=r"Is a directory.*; move that folder away, then run"):
        open_storage(journal, None)
    with (
        pytest.raises(StorageError, match=r"^.*/study.journal cannot be .*; move that folder away"),
        storage_errors("study.journal"),
    ):
        journal.read_bytes()


def test_a_lack_of_permission_is_to_be_mended(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"Permission denied.*; fix its permissions, "),
        storage_errors("study.journal"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", "study.journal")
