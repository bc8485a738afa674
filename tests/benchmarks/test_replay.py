"""Recording trainings, and replaying searches over them."""

import math
import random
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from benchmarks.recorded import Recording, Row, append, make_recording, read, write_header
from benchmarks.recording import draw, record, refuse_others
from benchmarks.replay import orders, replay
from benchmarks.replayed_pruners import CANDIDATES, Candidate
from spaces import DataShape
from spaces.cnn import CnnConfig
from tests.test_benchmarks import run

EPOCHS = 8
SMALL = {"blocks": 2, "filters_1": 6, "filters_2": 16, "dense_layers": 1, "dense_1": 16}


def recording(**changed: object) -> Recording:
    known: dict = {"train_size": 300, "val_size": 100, "epochs": EPOCHS, "seed": 0, "near": 1.0}
    known |= {
        "changed": 2.0,
        "precision": "float32",
        "first": {"one": CnnConfig.from_params(SMALL).params()},
    }
    return Recording(**(known | changed))


def made_rows(count: int) -> list[Row]:
    rng = random.Random(0)
    rows = []
    for index in range(count):
        level = rng.uniform(0.8, 0.95)
        rises = (level - rng.uniform(0.1, 0.4) / epoch for epoch in range(1, EPOCHS + 1))
        rows.append(
            Row(
                index=index,
                name="" if index else "default",
                parameters=1,
                first_cpu_seconds=2.0,
                epoch_cpu_seconds=1.0,
                accuracies=tuple(round(value, 4) for value in rises),
                params={"x": index},
            )
        )
    return rows


def by_optuna(rows: list[Row], candidate: Candidate, budget: float, name: str) -> tuple:
    """The same search with a study as a user has it."""
    study = optuna.create_study(study_name=name, direction="maximize")
    study.pruner, steps = candidate.make(EPOCHS), candidate.steps(EPOCHS)
    spent, best, begun = 0.0, math.nan, 0
    for row in rows:
        trial, pruned, epoch = study.ask(), False, 0
        begun += 1
        for epoch, accuracy in enumerate(row.accuracies, start=1):
            if epoch in steps:
                trial.report(accuracy, steps[epoch])
                if pruned := trial.should_prune():
                    break
        spent += row.first_cpu_seconds + (epoch - 1) * row.epoch_cpu_seconds
        if spent > budget:
            break
        if pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, row.accuracies[-1])
            best = row.accuracies[-1] if math.isnan(best) else max(best, row.accuracies[-1])
    return best, begun


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_replay_prunes_as_a_study_does(name: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for seed, rows in enumerate(orders(made_rows(60), 2)):
        study = f"replay-{seed}"
        (outcome,) = replay(rows, CANDIDATES[name], EPOCHS, [250.0], study)
        assert (outcome.best, outcome.begun) == by_optuna(rows, CANDIDATES[name], 250.0, study)


def test_orders_keep_the_first_configurations_first() -> None:
    rows = made_rows(20)
    one, other = orders(rows[::-1], 2)
    assert [order[0].name for order in (one, other)] == ["default", "default"]
    assert one != other
    assert sorted(one, key=lambda row: row.index) == rows
    mixed = orders(rows, 20, mixed=True)
    assert len({tuple(row.name for row in order).index("default") for order in mixed}) > 5
    assert all(sorted(order, key=lambda row: row.index) == rows for order in mixed)


def test_a_draw_near_a_configuration_keeps_most_of_it() -> None:
    data = DataShape((28, 28, 1), 10)
    first = CnnConfig.from_params(SMALL).params(data)

    def differ(changed: float) -> list[int]:
        wanted = recording(first={"one": first}, changed=changed)
        drawn = [draw(index, wanted, data) for index in range(30)]
        assert draw(3, wanted, data) == drawn[3]
        return sorted(sum(one.get(name) != first[name] for name in first) for one in drawn)

    # A tenth of a search's proposals are any point.
    few, many = differ(2.0), differ(8.0)
    assert 1 <= few[15] <= 3
    assert 5 <= many[15] <= 10


def test_trainings_are_those_of_a_search_with_whitening(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data))
    wanted = make_recording(train_size=300, val_size=100, epochs=1, seed=0, near=1.0)
    assert wanted.first["default"]["whitened"] is True
    chosen = replace(wanted, first={"default": wanted.first["default"]})
    record(tmp_path / "table.csv", draws=0, wanted=chosen, workers=1)
    _, (row,), _ = read(tmp_path / "table.csv")
    # Without whitening, the first layer has one channel of input instead of eight.
    assert row.parameters == 311_306


def test_a_recording_continues_after_its_last_whole_row(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data))
    table, wanted = tmp_path / "table.csv", recording(epochs=2)
    write_header(table, wanted)
    append(table, made_rows(2)[1])
    with table.open("a") as file:
        file.write("0,one,17")  # killed while it wrote
    record(table, draws=2, wanted=wanted, workers=1)
    found, rows, facts = read(table)
    assert found == wanted
    assert [(row.index, row.name) for row in rows] == [(1, ""), (0, "one"), (0, "")]
    assert len(rows[1].accuracies) == 2
    assert "machine" in facts
    for other, message in (
        (recording(epochs=3), "has epochs 2, not 3; name another table"),
        (recording(epochs=2, first={}), "has other first configurations than the space now"),
    ):
        with pytest.raises(SystemExit, match=message):
            record(table, draws=2, wanted=other, workers=1)
    assert "winner lost" in run(small_data, "replay", "--table", str(table), "--seeds", "2")


def test_draws_of_two_tables_are_compared_in_pairs(tmp_path: Path, small_data: Path) -> None:
    for name, more in (("one", 0.02), ("other", 0.0)):
        write_header(tmp_path / name, recording())
        for row in made_rows(8):
            risen = tuple(value + more * row.index for value in row.accuracies)
            append(tmp_path / name, replace(row, accuracies=risen))
    flags = ("--table", str(tmp_path / "one"), "--against", str(tmp_path / "other"))
    said = " ".join(run(small_data, "replay", *flags).split())
    assert "7 pairs: mean +8.00 points, median +8.00; 7 of 7 that differ are above 0" in said
    assert "p = 0.016" in said
    same = run(small_data, "replay", *flags[:3], str(tmp_path / "one"))
    assert "The 7 draws that both tables have are the same." in same


def test_tables_of_other_conditions_are_not_compared(tmp_path: Path) -> None:
    other, wanted = recording(near=0.5), recording(changed=7.0)
    with pytest.raises(SystemExit, match=r"has near 0\.5, not 1\.0; name another table"):
        refuse_others(tmp_path / "table.csv", other, wanted, only=("near", "first"))
    with pytest.raises(SystemExit, match=r"has changed 2\.0, not 7\.0"):
        refuse_others(tmp_path / "table.csv", recording(), wanted)


def test_a_table_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    write_header(tmp_path / "table.csv", recording())
    header = (tmp_path / "table.csv").read_text().replace('"changed": 2.0, ', "")
    (tmp_path / "table.csv").write_text(header)
    with pytest.raises(SystemExit, match=r"of an earlier version \(it has no changed\)"):
        read(tmp_path / "table.csv")
