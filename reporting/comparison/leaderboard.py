"""The winners of all studies by test accuracy, and what they cost."""

from collections.abc import Callable, Sequence
from typing import Any

from reporting.chapters.accuracy import difference_with_interval, p_value_words, with_interval
from reporting.comparison.finals import Finals
from reporting.comparison.studies import Compared
from reporting.drawing.style import counted, listed, percent, points
from reporting.evidence import Row
from reporting.page.document import Block, Column, Paragraph, Table


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
    return f"{words} {_against(_base(ranked), ranked)}".strip()


def _against(base: Compared, others: Sequence[Compared]) -> str:
    """Say which studies the first one differs from."""
    found = [(study.name, study.difference) for study in others if study.difference is not None]
    better = [f"{n} by {_points(d.mean)}" for n, d in found if d.shown and d.mean > 0]
    worse = [f"{n} by {_points(d.mean)}" for n, d in found if d.shown and d.mean < 0]
    single = [n for n, d in found if not d.shown and d.seeds == 1]
    same = [f"{n} ({points(d.mean)} points)" for n, d in found if not d.shown and d.seeds > 1]
    sentences = (
        f"{base.name} beats {listed(better)}." if better else "",
        f"{base.name} is worse than {listed(worse)}." if worse else "",
        f"No significant difference between {base.name} and {listed(same)}." if same else "",
        f"One seed cannot show a difference between {base.name} and {listed(single)}."
        if single
        else "",
    )
    return " ".join(sentence for sentence in sentences if sentence)


def _points(difference: float) -> str:
    return f"{100 * abs(difference):.2f} points"


def _table(ranked: Sequence[Compared]) -> Table:
    base = _base(ranked)
    protocol = _finals(base).protocol
    balanced = any(study.record.objective == "balanced_accuracy" for study in ranked)
    images = "all" if protocol.images is None else f"{protocol.images:,}"
    return Table(
        name="leaderboard",
        caption="Winners, retrained under one protocol",
        note=f"Each winner was trained with {counted(protocol.seeds, 'seed')} for "
        f"{counted(protocol.epochs, 'epoch')} on {images} training and validation images, and "
        "scored once on the test images. Test accuracy: mean over "
        f"seeds and its 95 % t interval. Δ accuracy: {base.name} minus this study, in percentage "
        "points, with a 95 % bootstrap interval over the same images and over seeds; p: McNemar's "
        "exact test between the models of the first seeds, Holm-corrected.",
        columns=[
            Column("study", "study", lambda study: study.name),
            Column("trial", None, lambda study: _finals(study).candidate.number),
            Column("winner", "winner", lambda study: _finals(study).candidate.name),
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
        "retrainings that it has kept. Hours on different machines cannot be compared.",
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
