"""The folder of a report is replaced whole or not at all."""

from pathlib import Path

import pytest

from reporting.errors import ReportError
from reporting.folder import replaced


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
