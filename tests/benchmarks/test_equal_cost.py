"""Comparing trials of equal epochs with trials of equal cost."""

from pathlib import Path

import pytest

from benchmarks.equal_cost import _shared, compare, main
from benchmarks.recorded import Recording, Row, append, write_header
from tests.test_benchmarks import run

# Accuracies after 2, 4, 8 and 16 epochs: `dear` costs four times as much as the others, and is the
# best when all train as long.
FINAL = {
    "cheap": (0.80, 0.85, 0.88, 0.89),
    "dear": (0.70, 0.81, 0.89, 0.95),
    "poor": (0.50, 0.60, 0.70, 0.75),
}
LENGTHS = (2, 4, 8, 16)


def rows(place: int) -> dict[str, Row]:
    return {
        name: Row(
            index=index,
            name=name,
            parameters=1,
            first_cpu_seconds=5.0,
            epoch_cpu_seconds=4.0 if name == "dear" else 1.0,
            accuracies=(*(LENGTHS[place] - 1) * (0.1,), final[place]),
            params={},
        )
        for index, (name, final) in enumerate(FINAL.items())
    }


KIND: dict = {"near": 1.0, "changed": 2.0, "precision": "float32", "first": {}}
TABLES = {length: rows(place) for place, length in enumerate(LENGTHS)}


def test_at_equal_cost_a_dear_configuration_gets_fewer_epochs() -> None:
    rules = compare(TABLES, trial=8, truth=16)
    equal, cost = rules["equal epochs"], rules["equal cost"]
    assert equal.epochs == {"cheap": 8, "dear": 8, "poor": 8}
    assert cost.epochs == {"cheap": 8, "dear": 4, "poor": 8}
    assert (equal.winner, cost.winner) == ("dear", "cheap")
    assert (equal.tau, cost.tau) == (1.0, pytest.approx(1 / 3))
    assert (equal.loss, cost.loss) == (0.0, pytest.approx(0.06))
    assert equal.cpu_seconds == 3 * 5 + 7 * (1 + 4 + 1)
    assert cost.cpu_seconds == 3 * 5 + 7 + 3 * 4 + 7


def test_tables_on_disk_are_compared_without_training(tmp_path: Path, small_data: Path) -> None:
    for length, table in TABLES.items():
        conditions = {"train_size": 9, "val_size": 9, "epochs": length, "seed": 0}
        file = tmp_path / f"{length}.csv"
        write_header(file, Recording(**conditions, **KIND))
        for row in table.values():
            append(file, row)
    flags = ("--tables", str(tmp_path), "--epochs", "2", "4", "8", "--truth", "16", "--summary")
    flags += ("--train-size", "9", "--val-size", "9")
    output = run(small_data, "equal_cost", *flags)
    assert "lost by it" in output
    assert "6.00" in output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--truth", "8"], "must have --trial 8, and not --truth"),
        (["--trial", "5"], "must have --trial 5, and not --truth"),
        ([], "4.csv does not exist; leave out --summary to train it"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path,
    small_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data))
    given = ["equal_cost", "--tables", str(tmp_path), "--summary", *flags]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit):
        main()
    assert message in capsys.readouterr().err


def test_tables_without_a_common_configuration_are_refused() -> None:
    with pytest.raises(SystemExit, match="share fewer than two configurations"):
        _shared({2: {"cheap": TABLES[2]["cheap"]}, 4: TABLES[4]})
