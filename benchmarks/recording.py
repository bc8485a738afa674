"""Record unpruned trainings of the `cnn` space, drawn at random, in processes of one thread."""

import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from benchmarks.recorded import Recording, Row, append, read, write_header
from search.training.hardware import set_precision, start_tensorflow, training_variables
from spaces import DataShape

_SPAWN: Final = multiprocessing.get_context("spawn")
CONDITIONS: Final = ("train_size", "val_size", "epochs", "seed", "near", "changed", "precision")
_TRAININGS_PER_PROCESS: Final = 20  # TensorFlow keeps about 9 MB of each


def record(table: Path, draws: int, wanted: Recording, workers: int) -> None:
    """Train the missing rows of a table: the first configurations and this number of draws.

    Each row is written as soon as it is trained, so that an interrupted recording continues.

    Raises:
        SystemExit: The table holds other trainings.
    """
    done: set[tuple[int, str]] = set()
    if table.exists() and table.stat().st_size:
        _cut_unfinished_line(table)
        recording, rows, _ = read(table)
        refuse_others(table, recording, wanted)
        if recording.first != wanted.first:  # draws are near them
            raise SystemExit(
                f"{table} has other first configurations than the space now; name another table."
            )
        done = {(row.index, row.name) for row in rows}
    else:
        recording = wanted
        write_header(table, recording)
    jobs = [*enumerate(recording.first), *((index, "") for index in range(draws))]
    todo = iter([job for job in jobs if job not in done])
    os.environ |= training_variables(threads=1)
    lock = threading.Lock()

    def add(row: Row) -> None:
        with lock:
            append(table, row)
        shown = f"{row.accuracies[-1]:.4f}" if row.accuracies else "failed"
        print(f"{row.name or row.index}: {shown}", file=sys.stderr, flush=True)

    def take() -> tuple[int, str] | None:
        with lock:
            return next(todo, None)

    def work() -> None:
        job = take()
        while job is not None:
            ours, theirs = _SPAWN.Pipe()
            process = _SPAWN.Process(target=train_rows, args=(theirs, recording), daemon=True)
            process.start()
            theirs.close()
            for _ in range(_TRAININGS_PER_PROCESS):
                try:
                    ours.send(job)
                    add(ours.recv())
                except (EOFError, OSError):
                    print(f"{job[1] or job[0]}: lost its process", file=sys.stderr, flush=True)
                    job = take()
                    break
                if (job := take()) is None:
                    break
            ours.close()
            process.join()

    with ThreadPoolExecutor(workers) as pool:
        for running in [pool.submit(work) for _ in range(workers)]:
            running.result()


def refuse_others(
    table: Path, recording: Recording, wanted: Recording, *, only: Collection[str] = CONDITIONS
) -> None:
    """Check that a table was recorded under the wanted conditions.

    Args:
        table: Its path.
        recording: What it says of itself.
        wanted: What it should say.
        only: The conditions to check.

    Raises:
        SystemExit: It was recorded under others.
    """
    for name in only:
        if getattr(recording, name) != getattr(wanted, name):
            raise SystemExit(
                f"{table} has {name} {getattr(recording, name)}, not {getattr(wanted, name)}; name "
                "another table."
            )


def _cut_unfinished_line(table: Path) -> None:
    content = table.read_bytes()
    table.write_bytes(content[: content.rfind(b"\n") + 1])


def train_rows(connection: Connection, recording: Recording) -> None:
    """Train jobs from a pipe and answer with their rows, as the main function of a process."""
    start_tensorflow(devices=False)
    from search.data.formats import open_dataset
    from search.data.split import SplitSizes, load_split

    sizes = SplitSizes(train=recording.train_size, val=recording.val_size)
    split = load_split(open_dataset(None), sizes)
    while True:
        try:
            index, name = connection.recv()
        except EOFError:
            return
        connection.send(_train_row(index, name, recording, split))


def _train_row(index: int, name: str, recording: Recording, split: Any) -> Row:
    import keras
    import tensorflow as tf

    from search.study.study import trial_seed
    from search.training.loop import train
    from spaces.cnn import CnnConfig
    from spaces.cnn_model import build_model

    params = recording.first[name] if name else draw(index, recording, split.shape)
    config = CnnConfig.from_params(params, split.shape)
    seed = trial_seed(recording.seed, index + len(recording.first) * (not name))
    ends = [time.process_time()]
    accuracies: list[float] = []

    def on_epoch(epoch: int, entry: dict[str, float]) -> bool:
        ends.append(time.process_time())
        accuracies.append(entry["val_accuracy"])
        return False

    keras.backend.clear_session()
    set_precision(recording.precision)
    keras.utils.set_random_seed(seed)
    model = build_model(config, split.shape.image_shape, split.classes, split.pixels)
    try:
        epochs = recording.epochs
        train(model, config.training, split, max_epochs=epochs, seed=seed, on_epoch=on_epoch)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        pass
    if len(ends) == 1:
        ends.append(time.process_time())
    first = ends[1] - ends[0]
    return Row(
        index=index,
        name=name,
        parameters=model.count_params(),
        first_cpu_seconds=first,
        epoch_cpu_seconds=(ends[-1] - ends[1]) / (len(ends) - 2) if len(ends) > 2 else first,
        accuracies=tuple(accuracies),
        params=params,
    )


def draw(index: int, recording: Recording, data: DataShape) -> dict[str, Any]:
    """Return the hyperparameters of a draw: uniform, or a search's variant of one configuration."""
    import optuna

    from search.engines.near_best import NearBestSampler
    from search.engines.trials import StudyTrials
    from search.study.study import trial_seed
    from search.training.hyperparameters import TrialHyperParameters
    from spaces.cnn import CnnConfig

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = trial_seed(recording.seed, index)
    rng = random.Random(seed)
    study = optuna.create_study(direction="maximize")
    sampler = optuna.samplers.RandomSampler(seed=seed)
    trials = StudyTrials(study, sampler, "none", recording.epochs, note=print)

    def sample() -> dict[str, Any]:
        trial = trials.begin()
        hp = TrialHyperParameters(lambda name, kind: trials.suggest(trial, name, kind))
        params = CnnConfig.sample(hp, data).params(data)
        study.tell(trial, 1.0)
        return params

    if rng.random() < recording.near:
        name, centre = rng.choice(list(recording.first.items()))
        study.enqueue_trial(centre, user_attrs={"known_as": name})  # not counted as sampled
        sample()
        study.sampler = NearBestSampler(seed, recording.changed)
    return sample()
