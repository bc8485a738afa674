"""Which trials of a search are retrained: the most accurate, or those that a rule chooses."""

from optuna.trial import FrozenTrial

from reporting.errors import ReportError
from reporting.settings import ReportSettings
from reporting.study_tables import Record
from search.study.facts import last_settings
from search.study.front import knee, rule_words, within
from search.study.objective import COSTS, Limits, costs_of


def limits_of(settings: ReportSettings, record: Record) -> Limits:
    """Return the limits within which a report chooses: its own, else those of the last search."""
    return settings.limits if settings.limits.given else Limits.of(last_settings(record.facts))


def prediction_costs(settings: ReportSettings, record: Record) -> list[str]:
    """Return which costs of a prediction matter: limited by the report or the search, or minimized.

    Each view of an image costs a prediction, so the network is then used alone.
    """
    matter = {*limits_of(settings, record).given, *record.objectives.minimized}
    return [name for name in ("flops", "latency") if name in matter]


def rule_of(settings: ReportSettings, record: Record) -> str:
    """Return by what rule a report chooses among the trials, in words."""
    limits = limits_of(settings, record)
    if record.objectives.several:
        return rule_words(limits)
    return f"the most accurate within {limits.words}" if limits.given else "the most accurate"


def chosen_trials(settings: ReportSettings, record: Record) -> list[int]:
    """Return the numbers of the trials to retrain, the best first; all keep the rule.

    Within limits, or with one objective and no limits, these are the most accurate `--top` trials,
    of a front if there is one. The knee is a single trial: another one is no knee, however accurate
    it becomes.

    Raises:
        ReportError: No trial is within the limits, or their costs are not known.
    """
    limits = limits_of(settings, record)
    ordered = record.front if record.objectives.several else _complete(record)
    if not limits.given:
        chosen = [knee(ordered)] if record.objectives.several else ordered
        return [trial.number for trial in chosen[: settings.top]]
    if chosen := within(ordered, limits):
        return [trial.number for trial in chosen[: settings.top]]
    least = []
    for name in limits.given:
        known = [costs_of(trial.user_attrs).get(name) for trial in ordered]
        found = [cost for cost in known if cost is not None]
        if not found:
            raise ReportError(
                f"{limits.words} cannot be applied: no complete trial of study {record.name!r} "
                f"has its {name}. A search finds it out with --objective accuracy,{name} or "
                f"{COSTS[name].flag}; leave {COSTS[name].flag} out, or search again."
            )
        least.append(COSTS[name].shown(min(found)))
    cheapest = " and ".join(least)
    raise ReportError(
        f"no complete trial of study {record.name!r} is within {limits.words}; the least are "
        f"{cheapest}. Raise {limits.flags}, or search for cheaper networks."
    )


def _complete(record: Record) -> list[FrozenTrial]:
    return [record.frozen[int(number)] for number in record.complete.index]
