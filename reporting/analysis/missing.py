"""Says why a chapter lacks something, in one sentence."""

from reporting.evidence import Evidence


def no_test_results(evidence: Evidence) -> str:
    """Why there is no row `tuned` with test results."""
    if evidence.winner is None:
        return (
            "Nothing was retrained, so no winner was chosen and the test images stayed closed: "
            "there is nothing to show here."
        )
    gap = next((row.gap for row in evidence.rows if row.kind == "tuned"), "")
    reason = f" ({gap})" if gap else ""
    return f"No final training of the winner is finished{reason}: there is nothing to show here."


def gaps(evidence: Evidence) -> str:
    """Which rows lack trainings, and why; empty where none does."""
    found = [
        f"{row.name}, {len(row.runs)} of {evidence.settings.seeds} trainings ({row.gap})"
        for row in evidence.rows
        if row.gap
    ]
    return f"Not all final trainings are finished: {'; '.join(found)}." if found else ""
