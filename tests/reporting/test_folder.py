"""The folder of a report is replaced whole or not at all."""

import errno
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reporting.errors import ReportError
from reporting.folder import replaced, restore
from tests.command_line import ROOT


def names(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


def test_the_new_files_take_the_place_of_all_old_ones(tmp_path: Path) -> None:
    report = tmp_path / "report"
    for name in ("first", "second"):
        with replaced(report) as fresh:
            assert not names(fresh)
            (fresh / name).write_text("")
        assert names(report) == {name}
    assert names(tmp_path) == {"report"}


def test_what_goes_wrong_leaves_the_old_files(tmp_path: Path) -> None:
    report = tmp_path / "report"
    with replaced(report) as fresh:
        (fresh / "old").write_text("")
    with pytest.raises(KeyError), replaced(report) as fresh:
        (fresh / "new").write_text("")
        raise KeyError
    assert names(report) == {"old"}
    assert names(tmp_path) == {"report"}


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(
            ReportError, match=r"report cannot be written \(No space left.*free disk space"
        ),
        replaced(tmp_path / "report"),
        open("/dev/full", "w") as full,
    ):
        full.write("x" * 100_000)
    assert not names(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"), replaced(tmp_path / "file" / "x"):
        pass


# Writes the second report and is killed before the step of that number that changes the folder.
KILLED = """
import os, signal, sys
from pathlib import Path
from reporting.folder import replaced

report, left = Path(sys.argv[1]), [int(sys.argv[2])]

def step(event, arguments):
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "open"):
        if str(report.parent) in str(arguments[0]) or event in ("os.remove", "os.rmdir"):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
with replaced(report) as fresh:
    for name in "ab":
        (fresh / name).write_text("second")
"""


def write(report: Path, content: str) -> None:
    with replaced(report) as fresh:
        for name in "ab":
            (fresh / name).write_text(content)


def content(report: Path) -> set[str]:
    assert names(report) == {"a", "b"}
    return {file.read_text() for file in report.iterdir()}


def test_kill_9_at_any_step_leaves_the_old_or_the_new_report_also_to_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for step in itertools.count():
        report = tmp_path / str(step) / "report"
        report.parent.mkdir()
        write(report, "first")
        command = [sys.executable, "-c", KILLED, str(report), str(step)]
        ended = subprocess.run(command, cwd=ROOT)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        seen.append(report.exists())
        with monkeypatch.context() as disk, pytest.raises(ReportError, match="No space left"):
            disk.setattr(Path, "mkdir", full)
            write(report, "third")
        assert content(report) in ({"first"}, {"second"})
        write(report, "third")
        assert content(report) == {"third"}
        assert names(report.parent) == {"report"}
    assert False in seen  # killed between the two renames
    assert step > 8


def full(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_swap_that_fails_in_the_middle_keeps_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    write(report, "first")
    rename = Path.rename

    def fail_for_the_new(self: Path, target: Path) -> Path:
        return full() if self.name == ".report-new" else rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(ReportError, match="No space left"):
        write(report, "second")
    assert content(report) == {"first"}
    assert names(tmp_path) == {"report"}


def test_an_old_report_is_restored_only_where_there_is_none(tmp_path: Path) -> None:
    report = tmp_path / "report"
    restore(report)
    assert not report.exists()
    (tmp_path / ".report-old").mkdir()
    (tmp_path / ".report-old" / "a").write_text("old")
    restore(report)
    assert names(report) == {"a"}
    (tmp_path / ".report-old").mkdir()
    restore(report)
    assert names(report) == {"a"}
