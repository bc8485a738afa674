"""Run facts: data, splits, settings, versions, machine, commands."""

from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import pandas as pd

from reporting.drawing.style import MISSING
from reporting.evidence import Evidence
from reporting.page.document import Block, Code, Column, Paragraph, Table
from reporting.settings import ReportSettings
from search.data.dataset import Dataset
from search.display import duration
from search.words import counted, listed

_ORIGINS: Final = {
    "commit": "commits",
    "machine": "machines",
    "keras": "Keras versions",
    "tensorflow": "TensorFlow versions",
}


def blocks(evidence: Evidence) -> list[Block]:
    """Facts of the search and of this report, and the images that each number is measured on."""
    return [
        _facts(evidence),
        _splits(evidence),
        *_warnings(evidence),
        Paragraph("Commands that repeat the search and the report:"),
        Code(_commands(evidence), "console"),
    ]


def _facts(evidence: Evidence) -> Table:
    record, facts, settings = evidence.record, evidence.record.facts, evidence.settings
    states = record.trials["state"].replace("FAIL", "FAILED").str.lower().value_counts()
    started, ended = record.trials["started"].min(), record.trials["ended_at"].max()
    search = {
        name: value
        for name, value in dict(facts.get("settings", {})).items()
        if name not in ("sampler", "tuner")
    }
    rows: dict[str, Any] = {
        "Study": f"{record.name} in {_from_here(record.storage)}",
        "Space": facts.get("space"),
        "Trials": ", ".join(f"{count} {state}" for state, count in states.items()),
        "Epochs per trial": facts.get("epochs"),
        "Search": _words(search),
        "Engine": _engine(facts),
        "Time of the search": _time(started, ended),
        "Data": _data(evidence.dataset),
        "Training precision": facts.get("precision"),
        "Test precision": "float32",
        "Retrained trials": f"{_retrained(evidence)}{_versions(evidence)}, "
        f"{counted(settings.candidate_seeds, 'new seed')} each, "
        f"{counted(settings.final_epochs, 'epoch')}",
        "Final trainings": f"winner: {counted(settings.seeds, 'seed')}, "
        f"{counted(settings.final_epochs, 'epoch')}{_fitted(settings)}"
        f"{'; distilled from these: 1 seed' if settings.distill else ''}{_baselines(evidence)}",
        **_taken(evidence),
        "Machine of the search": facts.get("machine"),
        "Machine of the report": evidence.machine,
        "Versions": _words(facts.get("versions", {})),
        "Commit of the search": facts.get("commit"),
        **_rule(evidence),
        "Commit of the report": evidence.commit,
    }
    return Table(
        name="facts",
        caption="The search and this report",
        columns=[
            Column("fact", "fact", itemgetter(0)),
            Column("value", "value", itemgetter(1), str),
        ],
        items=list(rows.items()),
    )


def _rule(evidence: Evidence) -> dict[str, str]:
    """Return the objectives and the rule of the winner; empty if that is accuracy alone."""
    if not evidence.has_rule:
        return {}
    return {"Objectives": evidence.record.objectives.text, "Rule of the winner": evidence.rule}


def _retrained(evidence: Evidence) -> str:
    count = evidence.retrained_trials
    if evidence.has_rule:
        which = f"{counted(count, 'trial')} by the rule"
    elif evidence.default_is_added:
        which = f"the best {count - 1 if count > 2 else 'one'} and the default"
    else:
        which = f"the best {count}"
    return f"{which}, as {'it was' if count == 1 else 'they were'}"


def _data(dataset: Dataset) -> str:
    height, width, channels = dataset.image_shape
    return (
        f"{dataset.name}: {len(dataset.class_names)} classes, {height}x{width} pixels, "
        f"{'grey' if channels == 1 else 'colour'}; MD5 of the training part {dataset.fingerprint}"
    )


def _baselines(evidence: Evidence) -> str:
    if not evidence.has_baselines:
        return ""
    settings = evidence.settings
    return (
        f"; each baseline: {counted(settings.seeds_of_baselines, 'seed')}, "
        f"{counted(settings.baseline_epochs, 'epoch')}"
    )


def _taken(evidence: Evidence) -> dict[str, str]:
    """Say which baselines were trained for other studies, when and where; empty if none was."""
    runs = [run for row in evidence.rows if row.kind == "baseline" for run in row.runs]
    study = evidence.record.name
    origins = [run.origin for run in runs if run.origin.get("study", study) != study]
    if not origins:
        return {}

    def named(what: str) -> str:
        return listed(sorted({origin.get(what, "unknown") for origin in origins}))

    days = sorted({origin.get("trained", "unknown")[:10] for origin in origins})
    return {
        "Baselines of other reports": f"{len(origins)} of {counted(len(runs), 'training')}, for "
        f"study {named('study')}, {' to '.join(dict.fromkeys((days[0], days[-1])))}, on "
        f"{named('machine')}"
    }


def _versions(evidence: Evidence) -> str:
    count = len(evidence.remeasured)
    if count == evidence.retrained_trials:
        return ""
    return f" and with shifts ({counted(count, 'configuration')})"


def _fitted(settings: ReportSettings) -> str:
    return "" if settings.minutes is None else f" (fitted to --minutes {settings.minutes:g})"


def _from_here(storage: str) -> str:
    """Return the path relative to the current directory, which does not show the home folder."""
    path = Path(storage)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else storage


def _engine(facts: Mapping[str, Any]) -> str:
    """Return the engine, and the algorithms of all runs."""
    used: list[str] = []
    for run in (facts, *facts.get("runs", [])):
        settings = run.get("settings", {})
        kinds = [kind for kind in ("sampler", "tuner") if kind in settings]
        used += [f"{kind} {settings[kind]}" for kind in kinds]
    used = list(dict.fromkeys(used))
    return ", ".join([str(facts.get("engine")), *used])


def _splits(evidence: Evidence) -> Table:
    train, val = len(evidence.split.train_labels), len(evidence.split.val_labels)
    test = "the test part" if evidence.test is None else f"{len(evidence.test.labels):,} test"
    measure = evidence.record.measure
    sizes = evidence.record.sizes
    searched = f"{evidence.searched_epoch_size:,} training"
    if sizes.epoch_size is not None:
        all_images = sizes.train or evidence.images - val
        searched = f"{sizes.epoch_size:,} of {all_images:,} training in each epoch"
    rows = [
        (f"{measure}, search", searched, f"{val:,} validation"),
        (f"{measure}, retrained", f"{train:,} training", f"{val:,} validation"),
        ("test accuracy", f"{train + val:,} training and validation", test),
    ]
    return Table(
        name="splits",
        caption="Images behind each number",
        note="The test part was opened after the configuration was chosen."
        if evidence.test is not None
        else "",
        columns=[
            Column(name, name, itemgetter(place))
            for place, name in enumerate(("number", "trained on", "measured on"))
        ],
        items=rows,
    )


def _warnings(evidence: Evidence) -> list[Block]:
    warnings: list[Block] = []
    if evidence.scored_earlier:
        warnings.append(
            Paragraph(
                f"Earlier reports or previews scored {evidence.scored_earlier} other trainings of "
                "this study on the test part. If those results influenced the settings of this "
                "report, its test accuracies may be optimistic.",
                strong=True,
            )
        )
    for what, name in _ORIGINS.items():
        found = evidence.origins(what)
        if len(found) > 1:
            warnings.append(
                Paragraph(
                    f"The trainings come from several {name}: {listed(found)}. Candidates and "
                    "seeds may differ by more than chance."
                )
            )
    return warnings


def _commands(evidence: Evidence) -> str:
    runs = evidence.record.facts.get("runs", [])
    # The last run that trained asked for the whole study; earlier ones were parts of it.
    trained = [run for run in runs if "command" in run and run.get("trains", True)]
    last = [str(run["command"]) for run in trained[-1:]]
    return "\n".join([*last, evidence.command])


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or MISSING


def _time(started: Any, ended: Any) -> str:
    if pd.isna(started) or pd.isna(ended):
        return MISSING
    taken = duration((ended - started).total_seconds())
    return (
        f"{started:%Y-%m-%d %H:%M} to {ended:%Y-%m-%d %H:%M} ({taken} from the start of the first "
        "trial to the end of the last)"
    )
