"""The chapters on settings and limitations."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from reporting.chapters import accuracy, facts, limits, verdict
from reporting.evidence import Evidence, Remeasured
from reporting.page.document import Code
from tests.reporting.made_evidence import made_evidence
from tests.reporting.written import tables, words


def test_the_facts_say_which_images_each_number_is_measured_on(evidence: Evidence) -> None:
    section = facts.blocks(evidence)
    splits = tables(section)["splits"].shown
    assert splits["measured on"].tolist() == ["500 validation", "500 validation", "1,000 test"]
    commands = next(block.text for block in section if isinstance(block, Code))
    assert commands.splitlines() == ["python run_search.py --trials 30", "python report.py"]


def test_the_command_is_that_of_the_last_run_that_trained(evidence: Evidence) -> None:
    runs = [{"command": "one"}, {"command": "two"}, {"command": "three", "trains": False}]
    stored = dataclasses.replace(evidence.record, facts=evidence.record.facts | {"runs": runs})
    section = facts.blocks(dataclasses.replace(evidence, record=stored))
    commands = next(block.text for block in section if isinstance(block, Code))
    assert commands.splitlines()[0] == "two"


def from_elsewhere(
    remeasured: Sequence[Remeasured], origin: Callable[[int], dict[str, str]]
) -> list[Remeasured]:
    """The candidates, each with the origin for its place."""
    return [
        dataclasses.replace(
            one, runs=[dataclasses.replace(run, origin=origin(index)) for run in one.runs]
        )
        for index, one in enumerate(remeasured)
    ]


def test_the_limits_ask_for_more_seeds_where_there_are_few(evidence: Evidence) -> None:
    assert "larger --seeds" in words(limits.blocks(evidence))


def test_the_limits_count_the_machines_and_the_seeds_that_there_are(evidence: Evidence) -> None:
    said = words(limits.blocks(evidence))
    assert "One data set, one split, one machine. Differences" in said
    assert "Intervals over 3 seeds are wide" in said
    made = dataclasses.replace(
        evidence,
        remeasured=from_elsewhere(evidence.remeasured, lambda index: {"machine": f"m{index}"}),
        rows=[
            dataclasses.replace(row, probabilities=row.probabilities[:1])
            if row.kind == "tuned"
            else row
            for row in evidence.rows
        ],
    )
    said = words(limits.blocks(made))
    assert "One data set, one split, several machines. Differences" in said
    assert "One seed has no interval over seeds." in said


def test_the_limits_say_that_fewer_images_weaken_the_baselines_too(evidence: Evidence) -> None:
    fewer = "The baselines too saw fewer images than in their publications."
    assert fewer not in words(limits.blocks(evidence))
    part = dataclasses.replace(evidence, images=60_000)
    said = words(limits.blocks(part))
    assert "The final trainings have 2,500 of 60,000 training and validation images" in said
    assert f"(--train-size). {fewer}" in said


def test_the_limits_say_that_trials_had_fewer_images_than_the_retrainings(
    tmp_path: Path,
) -> None:
    searched = made_evidence(tmp_path, facts={"split": {"train": 1_500, "val": 500}})
    said = words(limits.blocks(searched))
    assert "An epoch of the search showed 1,500 of 2,000 images." in said
    trained = tables(facts.blocks(searched))["splits"].shown["trained on"].tolist()
    assert trained[:2] == ["1,500 training", "2,000 training"]
    assert "after 8 epochs of 1,500 images in the search" in words(verdict.blocks(searched))


def test_the_limits_say_that_epochs_had_fewer_images(tmp_path: Path) -> None:
    split = {"train": None, "val": 500, "epoch_size": 700}
    searched = made_evidence(tmp_path, facts={"split": split})
    said = words(limits.blocks(searched))
    assert "An epoch of the search showed 700 of 2,000 images." in said
    trained = tables(facts.blocks(searched))["splits"].shown["trained on"].tolist()
    assert trained[:2] == ["700 of 2,000 training in each epoch", "2,000 training"]
    said = words(verdict.blocks(searched))
    assert "after 8 epochs of 700 images (others in each epoch) in the search" in said
    assert "Retrained with new seeds for 30 epochs, trial" in said
    settings = dataclasses.replace(searched.settings, train_size=700)
    said = words(verdict.blocks(dataclasses.replace(searched, settings=settings)))
    assert "Retrained with new seeds for 30 epochs of the same 700 images, trial" in said


def test_one_epoch_is_written_in_the_singular(tmp_path: Path) -> None:
    made = made_evidence(tmp_path, epochs=1, baseline_epochs=1)
    said = words([*limits.blocks(made), *verdict.blocks(made)])
    assert "trained for 1 epoch; " in said
    assert "1 epochs" not in said


def rows(evidence: Evidence) -> dict[str, str]:
    shown = tables(facts.blocks(evidence))["facts"].shown
    return dict(zip(shown["fact"], shown["value"], strict=True))


def test_the_plan_of_the_report_is_a_fact(evidence: Evidence) -> None:
    found = rows(evidence)
    assert found["Retrained trials"] == (
        "the best one and the default, as they were and with shifts "
        f"({len(evidence.remeasured)} configurations), 1 new seed each, 30 epochs"
    )
    assert found["Final trainings"] == (
        "winner: 3 seeds, 30 epochs; each baseline: 3 seeds, 10 epochs"
    )


def test_trials_that_a_rule_chose_are_not_called_the_best(tmp_path: Path) -> None:
    made = made_evidence(tmp_path, facts={"objective": "accuracy,parameters"})
    assert rows(made)["Retrained trials"].startswith("1 trial by the rule, as it was")
    caption = tables(accuracy.blocks(made))["candidates"].caption
    assert caption.startswith("Validation accuracy of the trials that the rule chose, retrained")


def test_candidates_of_several_commits_and_versions_are_said(evidence: Evidence) -> None:
    assert "come from several" not in words(facts.blocks(evidence))
    made = dataclasses.replace(
        evidence,
        remeasured=from_elsewhere(
            evidence.remeasured[:2],
            lambda index: {"commit": f"c{index}", "keras": "3.15", "tensorflow": f"2.{index}"},
        ),
    )
    said = words(facts.blocks(made))
    assert "The trainings come from several commits: c0 and c1. Candidates and seeds may" in said
    assert "The trainings come from several TensorFlow versions: 2.0 and 2.1. Candid" in said
    assert "several Keras versions" not in said


def test_baselines_of_other_studies_are_a_fact_with_their_time_and_place(
    evidence: Evidence,
) -> None:
    assert "Baselines of other reports" not in rows(evidence)
    origins = {
        "mlp": {"study": "older", "trained": "2026-01-03T10:00:00+00:00", "machine": "a test"},
        "lenet-bn": {"study": "odd", "trained": "2026-01-05T10:00:00+00:00", "machine": "a test"},
        "bn-cnn": {"study": evidence.record.name, "trained": "2026-02-01T10:00:00+00:00"},
        "tuned": {"study": "renamed"},
    }
    made = dataclasses.replace(
        evidence,
        rows=[
            dataclasses.replace(
                row,
                runs=[
                    dataclasses.replace(run, origin=origins.get(row.name, {})) for run in row.runs
                ],
            )
            for row in evidence.rows
        ],
    )
    assert rows(made)["Baselines of other reports"] == (
        "6 of 18 trainings, for study odd and older, 2026-01-03 to 2026-01-05, on a test"
    )
