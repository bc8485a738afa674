"""The chapter on accuracy."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from reporting.chapters import accuracy, limits, verdict
from reporting.drawing.style import percent
from reporting.evidence import Evidence
from reporting.readout import Readout, Tried
from reporting.views import ALONE, Views
from tests.reporting.made_evidence import made_evidence
from tests.reporting.written import drawn, pictures, tables, words

MIRROR, ALL = Views(mirror=True), Views(mirror=True, shifts=True)


def test_one_seed_shows_no_difference_and_every_chapter_says_why(gapped: Evidence) -> None:
    unknown = "over images only; variation between seeds unknown"
    said = words(verdict.blocks(gapped))
    assert "One seed cannot show a difference from " in said
    assert "beats" not in said
    assert "is worse than" not in said
    assert said.count(unknown) == 1
    main = tables(accuracy.blocks(gapped))["accuracy"]
    assert f"95 % bootstrap interval {unknown}. " in main.note
    limited = words(limits.blocks(gapped))
    assert f"{' and '.join(list(gapped.differences)[-2:])}: intervals {unknown}." in limited
    assert "One seed has no interval" in limited
    assert "1 seeds" not in limited


def test_a_single_baseline_of_one_seed_is_named(evidence: Evidence) -> None:
    few = {
        name: dataclasses.replace(difference, seeds=1 if name == "mlp" else 3)
        for name, difference in evidence.differences.items()
    }
    made = dataclasses.replace(evidence, differences=few)
    unknown = "over images only; variation between seeds unknown"
    caption = tables(accuracy.blocks(made))["accuracy"].note
    assert f"95 % bootstrap interval over images and seeds (for mlp {unknown})." in caption
    assert f"Differences to mlp: intervals {unknown}." in words(limits.blocks(made))


def test_several_seeds_are_drawn_and_the_caption_says_how(evidence: Evidence) -> None:
    caption = tables(accuracy.blocks(evidence))["accuracy"].note
    assert "95 % bootstrap interval over images and seeds." in caption
    details = tables(accuracy.blocks(evidence))["accuracy-details"].note
    assert "McNemar's exact test between the models of the first seeds, Holm-corrected" in details
    said = words(limits.blocks(evidence))
    assert "images only" not in caption + said
    assert "Intervals over 3 seeds are wide" in said


def test_the_main_table_has_few_columns_and_its_file_has_all(evidence: Evidence) -> None:
    main = tables(accuracy.blocks(evidence))["accuracy"]
    assert list(main.shown) == [
        "network",
        "test accuracy (95 % interval)",
        "Δ accuracy (pp)",
        "parameters",
        "training CPU s",
    ]
    assert list(main.shown["network"]) == [row.name for row in evidence.rows]
    for row, (_, line) in zip(evidence.rows, main.values.iterrows(), strict=True):
        assert line["test_accuracy"] == pytest.approx(row.correct.mean())
        each = line[[f"seed {seed + 1}" for seed in range(len(row.correct))]]
        assert each.tolist() == pytest.approx(row.correct.mean(axis=1).tolist())
        found = evidence.differences.get(row.name)
        expected = np.nan if found is None else found.mean
        assert line["difference"] == pytest.approx(expected, nan_ok=True)
    tuned = evidence.rows[0].accuracy
    assert tuned.low is not None
    shown = main.shown.iloc[0]["test accuracy (95 % interval)"]
    assert shown.startswith(f"{percent(tuned.mean)} ({100 * tuned.low:.2f} to ")


def test_the_details_have_what_the_main_table_leaves_out(evidence: Evidence) -> None:
    section = accuracy.blocks(evidence)
    details = tables(section)["accuracy-details"]
    assert details.fold
    shown = details.shown.set_index("network")
    assert (shown.loc["bn-cnn", "seeds"], shown.loc["tuned, ensemble of 3", "seeds"]) == ("3", "1")
    assert shown.loc["tuned, ensemble of 3", "SD (pp)"] == "-"
    claims = tables(section)["baselines"].shown.set_index("network")
    assert claims.loc["vgg-cnn", "published accuracy"] == "92.54 % (loss 0.276)"
    assert claims.loc["plain-cnn", "published accuracy"] == "no number"


def test_an_ensemble_costs_what_all_its_models_cost(evidence: Evidence) -> None:
    main = tables(accuracy.blocks(evidence))["accuracy"]
    costs = main.values.set_index("network")
    one, flipped, three = ("tuned", "tuned, network alone", "tuned, ensemble of 3")
    assert [row.models for row in evidence.rows[:3]] == [1, 1, 3]
    for name, cost in (("parameters", 123_456), ("train_seconds", 200), ("train_cpu_seconds", 190)):
        assert costs.loc[[one, flipped, three], name].tolist() == [cost, cost, 3 * cost]
    shown = main.shown.set_index("network")
    assert shown.loc[three, ["parameters", "training CPU s"]].tolist() == ["370,368", "570"]


def test_a_distilled_network_costs_its_teachers_too(evidence: Evidence) -> None:
    tuned = evidence.tuned
    assert tuned is not None
    row = dataclasses.replace(
        tuned,
        name="distilled",
        kind="variant",
        runs=tuned.runs[:1],
        probabilities=tuned.probabilities[:1],
        teachers=tuned.runs,
    )
    section = accuracy.blocks(dataclasses.replace(evidence, rows=[*evidence.rows, row]))
    shown = tables(section)["accuracy"].shown.set_index("network")
    assert shown.loc["distilled", ["parameters", "training CPU s"]].tolist() == ["123,456", "760"]
    said = tables(section)["accuracy"].note
    assert "; for an ensemble, all its models; for distilled, its teachers too." in said
    assert "temperature as for tuned) of 3 final trainings, which have trained on that" in said
    assert "Augmented images keep the target of their original." in said
    assert "istilled" not in tables(accuracy.blocks(evidence))["accuracy"].note


def test_a_distilled_network_that_is_missing_is_a_gap_of_one_training(evidence: Evidence) -> None:
    tuned = evidence.tuned
    assert tuned is not None
    row = dataclasses.replace(
        tuned,
        name="distilled",
        kind="variant",
        runs=[],
        probabilities=np.empty((0, 1000, 0)),
        gap="seed 700000 not trained yet",
    )
    section = accuracy.blocks(dataclasses.replace(evidence, rows=[*evidence.rows, row]))
    assert "distilled, 0 of 1 trainings (seed 700000 not trained yet)." in words(section)
    assert set(tables(section)["accuracy"].shown.set_index("network").loc["distilled"]) == {"-"}


def test_a_gap_is_a_row_of_dashes_and_one_sentence(gapped: Evidence) -> None:
    section = accuracy.blocks(gapped)
    shown = tables(section)["accuracy"].shown.set_index("network")
    assert set(shown.loc["vgg-cnn"]) == {"-"}
    line = (
        "Not all final trainings are finished: vgg-cnn, 0 of 1 trainings (failed: out of memory)."
    )
    assert words(section).count(line) == 1
    assert "Some trainings are missing or failed: vgg-cnn." in words(verdict.blocks(gapped))


def test_the_candidates_show_what_retraining_changes(evidence: Evidence) -> None:
    shown = tables(accuracy.blocks(evidence))["candidates"].shown
    names = evidence.record.trials["name"]
    [default] = names.index[names == "default"]
    best = evidence.record.complete.index[0]
    assert shown["trial"].unique().tolist() == [str(best), str(default)]
    assert shown["name"].unique().tolist() == ["-", "default"]
    assert shown["chosen"].tolist() == ["yes", *[""] * (len(shown) - 1)]
    assert set(shown["seeds"]) == {"1"}
    for _, line in shown.iterrows():
        own = line["augmentation"] == "own"
        assert (line["change (pp)"] != "-") == own  # the other was not in the search
        assert (line["in the search"] != "-") == own
    assert not shown["augmentation"].eq("own").all()


def test_every_seed_is_a_point(evidence: Evidence) -> None:
    figure = drawn(pictures(accuracy.blocks(evidence))["seeds-points"])
    points = np.concatenate([line.get_xdata() for line in figure.axes[0].lines])
    for row in evidence.scored:
        for value in row.correct.mean(axis=1):
            assert np.isclose(points, 100 * value).any()
    assert np.isclose(points, 92.54).any()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("vgg-cnn", 0.9254),
        ("mlp", 0.85),
        ("lenet-bn", 0.90),
        ("bn-cnn", None),
        ("plain-cnn", None),
        ("default", None),
    ],
)
def test_published_numbers(name: str, number: float | None, evidence: Evidence) -> None:
    row = dataclasses.replace(evidence.rows[-1], name=name)
    assert accuracy.published(row) == (None if number is None else pytest.approx(number))
    assert accuracy.published(dataclasses.replace(row, kind="tuned")) is None


@pytest.mark.parametrize(
    ("readout", "rows", "said"),
    [
        (
            Readout(views=MIRROR, compared={ALONE: Tried(0.9), MIRROR: Tried(0.9)}),
            ["tuned, network alone"],
            "chosen unless validation accuracy falls by it. Validation accuracy: 90.00 % network "
            "alone and 90.00 % mirror images; tuned: mirror images. Baselines use the "
            "image alone, as published.",
        ),
        (
            Readout(compared={ALONE: Tried(0.9), MIRROR: Tried(0.8)}),
            ["tuned, mirror images"],
            "90.00 % network alone and 80.00 % mirror images; tuned: network alone.",
        ),
        (
            Readout(compared={ALONE: Tried(0.8), MIRROR: Tried(0.9)}, plain="no graph"),
            ["tuned, mirror images"],
            "tuned: network alone; best_model.keras is the network alone.",
        ),
        (
            Readout(
                views=ALL,
                images=5000,
                compared={ALONE: Tried(0.8), MIRROR: Tried(0.85), ALL: Tried(0.9)},
            ),
            ["tuned, network alone", "tuned, mirror images"],
            "Shifts: mean also over each image shifted by one pixel in four directions; chosen "
            "only if validation accuracy rises above the best without shifts by more than half a "
            "standard error of the paired difference over 5,000 images. Validation accuracy: "
            "80.00 % network alone, "
            "85.00 % mirror images and 90.00 % mirror images and shifts; tuned: mirror images and "
            "shifts. Baselines use the image alone, as published.",
        ),
    ],
)
def test_why_views_were_chosen_or_not_is_said(
    tmp_path: Path, readout: Readout, rows: list[str], said: str
) -> None:
    made = made_evidence(tmp_path, trials=8, readout=readout)
    main = tables(accuracy.blocks(made))["accuracy"]
    assert main.note is not None
    assert main.note.endswith(said)
    assert main.shown["network"].tolist()[1 : 1 + len(rows)] == rows
    for row in made.rows[: 1 + len(rows)]:
        assert row.milliseconds_per_image == pytest.approx(0.1 * row.readout.views.count)


def test_views_are_explained_by_the_objective_of_the_search(tmp_path: Path) -> None:
    made = made_evidence(
        tmp_path, trials=8, readout=Readout(compared={ALONE: Tried(0.9), ALL: Tried(0.8)})
    )
    facts = made.record.facts | {"objective": "balanced_accuracy"}
    made = dataclasses.replace(made, record=dataclasses.replace(made.record, facts=facts))
    note = tables(accuracy.blocks(made))["accuracy"].note
    assert note is not None
    assert "chosen unless validation balanced accuracy falls by it" in note
    assert "only if validation balanced accuracy rises above" in note
    assert "Validation balanced accuracy: 90.00 % network alone" in note


def test_a_winner_with_another_augmentation_has_no_accuracy_in_the_search(
    evidence: Evidence,
) -> None:
    for part in evidence.remeasured:
        made = dataclasses.replace(evidence, winner=part)
        values = tables(accuracy.blocks(made))["accuracy"].values.set_index("network")
        expected = part.candidate.value if part.candidate.augmentation is None else np.nan
        found = values.loc["tuned", "val_accuracy_search"]
        assert found == pytest.approx(expected, nan_ok=True)
