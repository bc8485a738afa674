"""What looks wrong with the search, and what to do: the checks that the search makes too."""

import statistics
from dataclasses import dataclass
from operator import attrgetter

from reporting.drawing.style import points
from reporting.evidence import Evidence, Remeasured
from reporting.page.document import Block, Column, Paragraph, Table
from search.study.health import CHECKS, Trials
from search.words import counted

_LEAD = (
    "Two candidates or more were retrained with two seeds or more each, and the mean of the chosen "
    "one is ahead of the next by less than the standard deviation over seeds, pooled over the "
    "candidates. Our choice: about one standard error of the difference for two seeds."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """A check and what it found; empty words if nothing."""

    name: str
    rule: str
    found: str
    advice: str


def blocks(evidence: Evidence) -> list[Block]:
    """One line of what was found, and the table of all checks."""
    record = evidence.record
    trials = Trials(record.frozen, record.facts)
    results = [
        _Result(name=check.name, rule=check.rule, found=check.look(trials), advice=check.advice)
        for check in CHECKS
    ]
    results.append(
        _Result(
            name="seeds differ more than candidates",
            rule=_LEAD,
            found=_within_noise(evidence.remeasured, evidence.winner),
            advice="The candidates are equal as far as this shows: take the cheaper one, or raise "
            "--candidate-seeds.",
        )
    )
    found = [one for one in results if one.found]
    written: list[Block] = [
        Paragraph(
            f"{counted(len(results), 'check')}, {counted(len(found), 'finding')}. Findings are "
            "hints, not errors."
        )
    ]
    written += [Paragraph(f"{one.name}: {one.found}. {one.advice}") for one in found]
    return [*written, _table(results)]


def _within_noise(remeasured: list[Remeasured], winner: Remeasured | None) -> str:
    """Compare the lead of the winner with the spread between seeds; empty if it is larger."""
    known = [
        (part, part.accuracy.mean, part.accuracy.sd**2)
        for part in remeasured
        if part.accuracy is not None and part.accuracy.sd is not None
    ]
    chosen = [mean for part, mean, _ in known if part is winner]
    others = [mean for part, mean, _ in known if part is not winner]
    if winner is None or not chosen or not others:
        return ""
    deviation = statistics.mean(variance for _, _, variance in known) ** 0.5
    lead = chosen[0] - max(others)
    if lead >= deviation:
        return ""
    return (
        f"{winner.candidate.name} leads by {points(lead)} points; seeds of one "
        f"configuration have a standard deviation of {100 * deviation:.2f} points"
    )


def _table(results: list[_Result]) -> Table:
    return Table(
        name="checks",
        caption="All checks",
        columns=[
            Column("check", "check", attrgetter("name")),
            Column("found", "found", lambda one: one.found or None),
            Column("rule", "rule", attrgetter("rule")),
            Column("advice", "what to do", attrgetter("advice")),
        ],
        items=results,
        fold=True,
    )
