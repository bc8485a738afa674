"""Make a report: read the study, retrain, choose the winner, open the test part, write files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
from rich.progress import Progress

from predicting.archive import ModelError
from predicting.config import CONFIG_FILE
from reporting import evidence as evidences
from reporting.chapters.contents import document_of
from reporting.choosing import has_rule, rule_of
from reporting.distillation import order_distillation
from reporting.errors import ReportError
from reporting.evidence import Evidence, Remeasured, Row
from reporting.export import export
from reporting.final_model import BEST_MODEL_FILE, choose_readout, write_winner
from reporting.fitting import epochs_to_fit, fit, wall_seconds
from reporting.folder import replaced, restore, writing
from reporting.page.render import write_document
from reporting.plan import TUNED, Candidate, Entry, Plan, finished
from reporting.readout import PLAIN, Readout
from reporting.retrainer import Retrainings
from reporting.retraining import Folders, Results, Retrained, Retraining, load_kept
from reporting.scoring import SCORES_FILE, Scorer, load_test_split
from reporting.settings import ReportSettings
from reporting.shared import FOLDER
from reporting.statistics import Interval
from reporting.study_tables import Record, read_study
from reporting.timing import times_of_choice
from search.command_line.process import stop_by_signal
from search.data.cache import forget
from search.data.dataset import Dataset
from search.data.formats import open_dataset
from search.data.named import NAMES
from search.data.split import Split, check_sizes, load_split
from search.display import duration
from search.errors import StopReason
from search.escape import escaped
from search.files import locked, refuse_links
from search.study.facts import pixels_of
from search.study.provenance import command_line, commit
from search.study.storage import quiet_optuna
from search.training.hardware import machine, start_tensorflow
from search.words import counted, listed
from search.workers.keras_trainer import WorkerSettings
from search.workers.limits import require_room
from search.workers.local import workers_here
from search.workers.messages import Failed, Train
from search.workers.pool import make_pool
from spaces import DEFAULT, DataShape, load_space
from spaces.errors import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A written report.

    Args:
        html: The page.
        evidence: What it was written from.
        unexported: Which files of `--export` could not be written, and why.
    """

    html: Path
    evidence: Evidence
    unexported: Sequence[str] = ()

    @property
    def directory(self) -> Path:
        """Folder of the report, with its tables, figures and files."""
        return self.html.parent

    @property
    def params(self) -> Mapping[str, Any] | None:
        """Hyperparameter values of the winner; None without test results."""
        tuned = self.evidence.tuned
        return None if tuned is None else tuned.params

    @property
    def test_accuracy(self) -> Interval | None:
        """Test accuracy of the winner over its seeds; None without test results."""
        tuned = self.evidence.tuned
        return None if tuned is None else tuned.accuracy

    @property
    def model(self) -> Path | None:
        """File of the winner's model; None without test results."""
        return None if self.evidence.tuned is None else self.directory / BEST_MODEL_FILE


@quiet_optuna()
def run_report(settings: ReportSettings, progress: Progress, arguments: Sequence[str]) -> Outcome:
    """Make the report of a study.

    Args:
        settings: Settings of the report.
        progress: Display of the retrainings.
        arguments: `sys.argv`, recorded in the report.

    Raises:
        Interrupted: A signal stopped it; finished retrainings are kept.
        SearchError: Anything that the user can fix; the message says how.
    """
    if settings.workers is not None:
        require_room(settings.workers, joblib.cpu_count())
    record = read_study(settings.results_dir, settings.study, settings.storage)
    settings = settings.for_study(record.max_epochs, record.sizes)
    _require_trust(settings, record, arguments)
    dataset = _same_data(settings, record, progress)
    folders = Folders(record.directory / "retrainings", settings.results_dir / FOLDER)
    target = record.directory / ("report-preview" if settings.quick else "report")
    with _only_one(record.directory):
        restore(target)
        refuse_links(folders.shared)
        available = check_sizes(dataset, settings.sizes(record.sizes))
        if settings.train_size == available:
            # All of them by number are the same trainings as all of them.
            settings = replace(settings, train_size=None)
        images = available + record.sizes.val
        if settings.retrain:
            dataset.files.require_test()  # now, not after hours of training
        times = times_of_choice(
            settings,
            record,
            dataset.shape,
            say=lambda text: progress.console.print(escaped(text), soft_wrap=True, markup=False),
        )
        record = replace(record, times=times)
        settings = _fit(settings, record, dataset.shape, images, folders)
        plan = Plan(settings, record, dataset.shape, images)
        if settings.retrain:
            results = _retrain(settings, record, plan, dataset, folders, progress)
        else:
            results = load_kept(folders, plan.kept)
        evidence = _gather(settings, record, plan, dataset, results, arguments)
        _refuse_to_lose_results(target, evidence)
        with replaced(target) as fresh:
            write_document(document_of(evidence), fresh)
            write_winner(evidence, fresh)
            if evidence.tuned is not None:
                unexported = export(fresh / BEST_MODEL_FILE, settings.export, dataset.shape)
            else:
                unexported = [f"--export {one}: there is no winner yet" for one in settings.export]
    return Outcome(html=target / "report.html", evidence=evidence, unexported=unexported)


def _require_trust(settings: ReportSettings, record: Record, arguments: Sequence[str]) -> None:
    """Refuse a space that is neither built in nor given by the user: loading it runs its code."""
    space = record.space
    if settings.space is None and ":" in space:
        trusting = command_line([*arguments, "--space", space])
        raise ReportError(
            f"study {record.name!r} was searched in {space!r}, which is not built in: a report "
            f"imports that module and runs its code. If you trust it, run: {trusting}"
        )
    if settings.space not in (None, space):
        raise ReportError(
            f"--space is {settings.space!r}, but study {record.name!r} was searched in {space!r}; "
            "give that one."
        )


def _refuse_to_lose_results(target: Path, evidence: Evidence) -> None:
    if evidence.tuned is None and (target / CONFIG_FILE).exists():
        raise ReportError(
            f"{target} has test results, which the new report would lose: "
            f"{target.parent / 'retrainings'} has no retraining with these flags. Use the flags of "
            "the old report (at the top of its report.md), leave out --no-retrain, or move the old "
            "report."
        )


def _same_data(settings: ReportSettings, record: Record, progress: Progress) -> Dataset:
    """Open the data set of the search, with the path and settings that the search used."""
    source = _source(record)
    data = settings.data or source.get("data")
    if settings.data is None and data is not None and data not in NAMES:
        # The study may be somebody else's, and name any folder of this user.
        progress.console.print(
            f"data: {shown(data)}, as the study says", soft_wrap=True, markup=False
        )
    cache = settings.results_dir / ".data"
    before = {folder.name for folder in cache.glob("*")}
    dataset = open_dataset(
        data,
        image_size=source.get("image_size"),
        mirror=source.get("mirror"),
        cache=cache,
        quiet=settings.quiet,
    )
    found, wanted = dataset.fingerprint, record.facts.get("data")
    if found != wanted:
        forget(dataset, before)  # otherwise they would be copied along with the results
        raise ReportError(
            f"data set {shown(data or dataset.name)} is not the one that the search used (MD5 "
            f"{found}, not {wanted}). Restore its files, or name the original data set with --data."
        )
    # Networks of earlier versions did not normalize or whiten their images.
    return replace(dataset, pixels=pixels_of(record.facts))


def _source(record: Record) -> Mapping[str, Any]:
    """Return how the last search of the study has opened its data, which may have moved since."""
    runs = record.facts.get("runs", [])
    found = (facts.get("dataset", {}).get("source") for facts in (*reversed(runs), record.facts))
    return next(filter(None, found), {})


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Create the folder of the study if necessary, and refuse a second report of it."""

    def busy(holder: str) -> ReportError:
        return ReportError(f"{holder} is already reporting this study. Wait for it or stop it.")

    retrainings = directory / "retrainings"  # a search locks the folder of the study
    with ExitStack() as held:
        with writing(directory):
            # A study in a database has no folder before its first report.
            retrainings.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(retrainings, busy))
        yield


def _fit(
    settings: ReportSettings, record: Record, data: DataShape, images: int, folders: Folders
) -> ReportSettings:
    """Return the settings with the epochs, and the seeds of baselines, that fit `--minutes`."""
    if settings.minutes is None:
        return settings
    searched, trained = (
        sizes.epoch_images(images) for sizes in (record.sizes, settings.sizes(record.sizes))
    )
    given = settings.baseline_seeds
    fitted = fit(
        lambda epochs, seeds: Plan(
            replace(settings, epochs=epochs, baseline_seeds=seeds), record, data, images
        ),
        lambda plan: load_kept(folders, plan.due),
        minutes=settings.minutes,
        epochs=epochs_to_fit(record.max_epochs, searched, trained),
        baseline_seeds=range(settings.seeds, 0, -1) if given is None else [given],
        workers=workers_here(settings.workers),
        directory=folders.study,
        train=settings.retrain,
    )
    return replace(settings, epochs=fitted.epochs, baseline_seeds=fitted.baseline_seeds)


def _retrain(
    settings: ReportSettings,
    record: Record,
    plan: Plan,
    dataset: Dataset,
    folders: Folders,
    progress: Progress,
) -> Results:
    stopped: list[StopReason] = []
    with stop_by_signal(stopped.append):
        worker = WorkerSettings(
            space=record.space,
            load_split=partial(load_split, dataset, plan.sizes),
            precision=record.facts["precision"],
        )
        pool = make_pool(
            worker,
            count=settings.workers,
            log_dir=record.directory / "logs",
        )
        kept = load_kept(folders, plan.due)
        _announce(settings, record, plan, folders, kept, pool.count, progress)
        retrainings = Retrainings(
            pool,
            folders,
            progress=progress,
            stopped=lambda: stopped[-1] if stopped else None,
            order=partial(_order, worker.load_split),
        )
        return retrainings.run(plan.due, kept)


def _order(load: Callable[[], Split], retraining: Retraining) -> Train:
    """Return the message that tells a worker to run a retraining."""
    return (
        retraining.order() if retraining.teachers is None else order_distillation(load, retraining)
    )


def _announce(
    settings: ReportSettings,
    record: Record,
    plan: Plan,
    folders: Folders,
    kept: Results,
    workers: int,
    progress: Progress,
) -> None:
    """Print what will be trained, and how long it will take."""
    chosen = plan.choose(kept) or plan.candidates[0]
    distilled = plan.distilled(chosen, kept)
    entries = [*plan.winners(chosen), *distilled, *plan.baselines]
    due = [one for candidate in plan.candidates for one in candidate.retrainings]
    due += [one for entry in entries for one in entry.retrainings]
    missing = [one for one in due if one.key not in kept]
    baselines = ""
    if plan.baselines:
        fewer = settings.minutes is not None and settings.seeds_of_baselines < settings.seeds
        flag = " (--baseline-seeds)" if fewer else ""
        baselines = (
            f"; {counted(settings.seeds_of_baselines, 'seed')}{flag} each of "
            f"{counted(len(plan.baselines), 'baseline')}, "
            f"{counted(settings.baseline_epochs, 'epoch')}"
        )
    taught = "; then one network distilled from them" if distilled else ""
    fitted = (
        "" if settings.minutes is None else f", which were fitted to --minutes {settings.minutes:g}"
    )
    again = folders.outdated(missing)
    changed = f" ({again} again: the module of the space has changed)" if again else ""
    progress.console.print(
        f"study {record.name!r}: {len(missing)} of {len(due)} trainings to do{changed}, about "
        f"{duration(wall_seconds(plan, kept, workers))} with {counted(workers, 'worker')}\n"
        f"  to choose the winner{_rule(settings, record)}: "
        f"{listed([_named(one) for one in plan.candidates])}; "
        f"{counted(settings.candidate_seeds, 'new seed')} each, "
        f"{counted(settings.final_epochs, 'epoch')}{plan.more_images}{fitted}\n"
        f"  to score on the test part: {counted(settings.seeds, 'seed')} of the winner, "
        f"{counted(settings.final_epochs, 'epoch')}{taught}{baselines}",
        soft_wrap=True,
        markup=False,
    )


def _named(candidate: Candidate) -> str:
    return f"{candidate.name} (default)" if candidate.known_as == DEFAULT else candidate.name


def _rule(settings: ReportSettings, record: Record) -> str:
    """Return the rule in brackets, unless it is accuracy alone."""
    if has_rule(settings, record):
        return f" ({rule_of(settings, record)})"
    return ""


def _gather(
    settings: ReportSettings,
    record: Record,
    plan: Plan,
    dataset: Dataset,
    results: Results,
    arguments: Sequence[str],
) -> Evidence:
    remeasured = [
        Remeasured(candidate=candidate, runs=list(finished(candidate.retrainings, results)))
        for candidate in plan.candidates
    ]
    chosen = plan.choose(results)
    winner = next((part for part in remeasured if part.candidate is chosen), None)
    split = load_split(dataset, plan.sizes)
    readout = PLAIN
    rows: list[Row] = []
    test = None
    if chosen is not None and winner is not None:
        start_tensorflow()
        load_space(record.space, dataset.shape)  # registers its custom layers
        winners = [*plan.winners(chosen), *plan.distilled(chosen, results)]
        views = plan.views(chosen)
        readout = choose_readout(winner.runs, split, views=views, objective=record.objective)
        # All is chosen: the test part may be opened.
        test = load_test_split(dataset)
        scorer = Scorer(test, dataset.shape)
        for entry in (*winners, *plan.baselines):
            rows += _rows(settings, entry, readout if entry in winners else None, results, scorer)
    return Evidence(
        settings=settings,
        record=record,
        dataset=dataset,
        remeasured=remeasured,
        winner=winner,
        rows=rows,
        differences=evidences.differences(rows),
        split=split,
        images=plan.images,
        test=test,
        command=command_line(arguments),
        machine=machine(),
        commit=commit(),
        readout=readout,
        scored_earlier=_scored_earlier(record, rows),
        failures={
            retraining.label: result.reason
            for retraining in plan.due(results)
            if isinstance(result := results.get(retraining.key), Failed)
        },
    )


def _scored_earlier(record: Record, rows: Sequence[Row]) -> int:
    here = {run.folder for row in rows for run in row.runs}
    scored = {file.parent for file in (record.directory / "retrainings").glob(f"*/{SCORES_FILE}")}
    return len(scored - here)


def _rows(
    settings: ReportSettings,
    entry: Entry,
    readout: Readout | None,
    results: Results,
    scorer: Scorer,
) -> list[Row]:
    """Score an entry and return its row; for the winner also its variants.

    Args:
        settings: Settings of the report.
        entry: The entry.
        readout: Readout of the winner and of its configuration trained in another way; None for a
            baseline.
        results: All retrainings.
        scorer: For the test part.
    """
    kind: evidences.Kind = "baseline"
    if readout is not None:
        kind = "tuned" if entry.name == TUNED else "variant"
    compared = [] if readout is None else list(readout.compared)
    # Only the winner has rows for the views that were not chosen.
    most = compared[-1] if compared and kind == "tuned" else (readout or PLAIN).views
    scored, missing = [], []
    for retraining in entry.retrainings:
        match results.get(retraining.key):
            case Retrained() as kept:
                try:
                    scored.append((kept, scorer.score(kept, most)))
                    continue
                except ModelError as error:
                    why = f"cannot be scored: {error}"
            case Failed(reason=reason):
                why = f"failed, {reason}"
            case _:
                why = "not trained yet"
        missing.append(f"seed {retraining.seed} {why}")
    gap, labels = "; ".join(missing), scorer.part.labels
    row = evidences.make_row(entry, kind, scored, labels, gap, readout or PLAIN)
    rows = [row]
    if kind == "tuned" and scored:
        rows += [
            evidences.other_way(row, entry, scored, way)
            for way in compared
            if way != row.readout.views
        ]
        if settings.ensemble and len(scored) > 1:
            rows.append(evidences.ensemble(row))
    return rows
