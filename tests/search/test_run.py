"""How a search begins, where several begin at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from search.run import _make_directory


def test_several_that_begin_at_once_may_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(_make_directory, [tmp_path / "shared"] * 2_000))
    assert set(made) == {tmp_path / "shared"}
    assert not list((tmp_path / "shared").iterdir())
