"""Which trials of a search are retrained: the most accurate and the default, or by a rule."""

from optuna.trial import TrialState

from reporting.errors import ReportError
from reporting.settings import ReportSettings
from reporting.study_tables import Record
from search.study.facts import last_settings
from search.study.front import choose, rule_words
from search.study.objective import COSTS, Limits, costs_of
from search.study.study import known_as
from spaces import DEFAULT


def limits_of(settings: ReportSettings, record: Record) -> Limits:
    """Return the limits for the winner: those of the report, else those of the last search."""
    return settings.limits if settings.limits.given else Limits.of(last_settings(record.facts))


def prediction_costs(settings: ReportSettings, record: Record) -> list[str]:
    """Return the costs of a prediction that are limited or minimized, in the report or the search.

    If there are any, the network sees the image alone: each view costs another prediction.
    """
    matter = {*limits_of(settings, record).given, *record.objectives.minimized}
    return [name for name in ("flops", "latency") if name in matter]


def has_rule(settings: ReportSettings, record: Record) -> bool:
    """Return whether a report chooses by another rule than accuracy alone."""
    return record.objectives.several or bool(limits_of(settings, record).given)


def rule_of(settings: ReportSettings, record: Record) -> str:
    """Return in words the rule by which a report chooses among the trials."""
    return rule_words(limits_of(settings, record), several=record.objectives.several)


def chosen_trials(settings: ReportSettings, record: Record) -> list[int]:
    """Return the numbers of the trials to retrain by the rule, the best first, at most `--top`.

    Without a rule, the last of several gives way to the default configuration if that is not among
    them: only trained as long as the best trial does it show whether the search gained anything.

    Raises:
        ReportError: No trial is within the limits, or their costs are not known.
    """
    limits = limits_of(settings, record)
    several = record.objectives.several
    complete = [
        record.timed(trial) for trial in record.frozen if trial.state == TrialState.COMPLETE
    ]
    # Without limits, either all times of the front have been measured again, or none.
    known = record.front if several and not limits.given else complete
    if chosen := choose(known, limits, several=several):
        best = chosen[: settings.top]
        if len(best) > 1 and not has_rule(settings, record):
            default = next((trial for trial in chosen if known_as(trial) == DEFAULT), None)
            if default is not None and default not in best:
                best[-1] = default
        return [trial.number for trial in best]
    least = []
    for name in limits.given:
        costs = [costs_of(trial.user_attrs).get(name) for trial in complete]
        found = [cost for cost in costs if cost is not None]
        if not found:
            raise ReportError(
                f"{limits.words} cannot be applied: no complete trial of study {record.name!r} "
                f"has its {name}. A search finds it out with --objective accuracy,{name} or "
                f"{COSTS[name].flag}; leave {COSTS[name].flag} out, or search again."
            )
        least.append(COSTS[name].shown(min(found)))
    cheapest = " and ".join(least)
    raise ReportError(
        f"no complete trial of study {record.name!r} is within {limits.words} (lowest: "
        f"{cheapest}). Raise {limits.flags}, or search for cheaper networks."
    )
