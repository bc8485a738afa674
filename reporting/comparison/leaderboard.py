"""The winners of all studies by test accuracy, and what they cost."""

from collections.abc import Callable, Sequence
from typing import Any

from reporting.chapters.accuracy import difference_with_interval, p_value_words, with_interval
from reporting.chapters.verdict import compared_words
from reporting.comparison.finals import Finals, TrainingProtocol
from reporting.comparison.studies import Compared
from reporting.drawing.style import percent
from reporting.evidence import Row
from reporting.page.document import Block, Column, Paragraph, Table
from search.words import counted


def blocks(studies: Sequence[Compared]) -> list[Block]:
    """Write which winner is ahead, the table, and which studies are not in it, and why."""
    ranked = sorted(
        (study for study in studies if study.finals is not None),
        key=lambda study: -_row(study).accuracy.mean,
    )
    written: list[Block] = []
    if ranked:
        written = [Paragraph(_verdict(ranked), strong=True), _table(ranked), _costs(studies)]
    else:
        written = [
            Paragraph("No study has a report with test results to compare.", strong=True),
            _costs(studies),
        ]
    left_out = [study for study in studies if study.gap]
    return [*written, *(Paragraph(f"Not compared: {one.name}: {one.gap}.") for one in left_out)]


def _finals(study: Compared) -> Finals:
    assert study.finals is not None
    return study.finals


def _row(study: Compared) -> Row:
    return _finals(study).row


def _verdict(ranked: Sequence[Compared]) -> str:
    best = ranked[0]
    words = (
        f"{best.name} has the highest mean test accuracy, {percent(_row(best).accuracy.mean)} "
        f"({_finals(best).candidate.name})."
    )
    found = {study.name: study.difference for study in ranked if study.difference is not None}
    return f"{words} {compared_words(_base(ranked).name, found)}".strip()


def _table(ranked: Sequence[Compared]) -> Table:
    protocol = _finals(_base(ranked)).protocol
    balanced = any(study.record.objective == "balanced_accuracy" for study in ranked)
    return Table(
        name="leaderboard",
        caption="Winners, retrained under one protocol",
        note=" ".join([_trained(protocol), *_rules(ranked), *_compared(ranked)]),
        columns=[
            Column("study", "study", lambda study: study.name),
            Column("trial", None, lambda study: _finals(study).candidate.number),
            Column("winner", "winner", lambda study: _finals(study).candidate.name),
            Column("rule", None, lambda study: _finals(study).rule),
            Column(
                None,
                "test accuracy (95 % interval)",
                lambda study: _row(study).accuracy,
                with_interval,
            ),
            Column("test_accuracy", None, lambda study: _row(study).accuracy.mean),
            Column("test_accuracy_sd", None, lambda study: _row(study).accuracy.sd),
            Column("test_accuracy_low", None, lambda study: _row(study).accuracy.low),
            Column("test_accuracy_high", None, lambda study: _row(study).accuracy.high),
            *(
                [
                    Column(
                        "test_balanced_accuracy",
                        "balanced accuracy",
                        lambda study: _row(study).balanced_accuracy.mean,
                        percent,
                    )
                ]
                if balanced
                else []
            ),
            Column(
                None, "Δ accuracy (pp)", lambda study: study.difference, difference_with_interval
            ),
            Column("difference", None, _of_difference("mean")),
            Column("difference_low", None, _of_difference("low")),
            Column("difference_high", None, _of_difference("high")),
            Column("p_holm", "p", _of_difference("p_holm"), p_value_words),
            Column("parameters", "parameters", lambda study: _row(study).parameters, ","),
            Column("precision", "precision", lambda study: study.record.facts["precision"]),
            Column("views", "views", lambda study: str(_row(study).readout.views)),
            Column("epochs", "epochs", lambda study: _row(study).epochs),
            Column("n", "seeds", lambda study: _row(study).accuracy.n),
            Column(
                "train_cpu_seconds",
                "training CPU s",
                lambda study: _row(study).train_cpu_seconds,
                ",.0f",
            ),
        ],
        items=list(ranked),
    )


def _trained(protocol: TrainingProtocol) -> str:
    images = "all" if protocol.images is None else f"{protocol.images:,}"
    return (
        f"Each winner was trained with {counted(protocol.seeds, 'seed')} for "
        f"{counted(protocol.epochs, 'epoch')} on {images} training and validation images. "
        "Precision and views (predictions may be means over an image, its mirror image and shifted "
        "ones) are not part of the protocol, but those of each study. Test accuracy: "
        "mean over seeds and its 95 % t interval."
    )


def _rules(ranked: Sequence[Compared]) -> list[str]:
    """Say which winners were not chosen for their accuracy alone."""
    return [
        f"The winner of {study.name} is {_finals(study).rule}, so a more accurate trial may exist."
        for study in ranked
        if _finals(study).rule
    ]


def _compared(ranked: Sequence[Compared]) -> list[str]:
    """Say what the differences are, and what a choice among several means."""
    found = [study.difference for study in ranked if study.difference is not None]
    if not found:
        return []
    return [
        f"Δ accuracy: {_base(ranked).name} minus this study, in percentage points, with a 95 % "
        f"bootstrap interval {found[0].sampled}.",
        "p: McNemar's exact test between the models of the first seeds, Holm-corrected.",
        "The highest of several test accuracies is partly luck: for a study chosen by it, it is an "
        "optimistic estimate.",
    ]


def _base(ranked: Sequence[Compared]) -> Compared:
    """Return the study that the others are compared with, the only one without a difference."""
    return next(study for study in ranked if study.difference is None)


def _of_difference(name: str) -> Callable[[Compared], Any]:
    return lambda study: None if study.difference is None else getattr(study.difference, name)


def _costs(studies: Sequence[Compared]) -> Table:
    def trials(state: str) -> Callable[[Compared], int]:
        return lambda study: int((study.record.trials["state"] == state).sum())

    return Table(
        name="costs",
        caption="Searches and their costs",
        note="Worker hours: time of all trials, one after another. CPU hours of the search: of "
        "complete and pruned trials, where all have it recorded; of the report: of all "
        "retrainings that it has kept, without the baselines that studies share. Hours on "
        "different machines cannot be compared.",
        columns=[
            Column("study", "study", lambda study: study.name),
            Column("complete", "complete", trials("COMPLETE"), ","),
            Column("pruned", "pruned", trials("PRUNED"), ","),
            Column("failed", "failed", trials("FAIL"), ","),
            Column(
                "best_validation",
                "best validation",
                lambda study: study.record.complete["value"].iloc[0],
                percent,
            ),
            Column("worker_seconds", "worker hours", lambda one: one.worker_seconds, _hours),
            Column("cpu_seconds", "CPU hours, search", lambda one: one.cpu_seconds, _hours),
            Column(
                "report_cpu_seconds",
                "CPU hours, report",
                lambda study: study.report_cpu_seconds,
                _hours,
            ),
        ],
        items=list(studies),
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f}"
