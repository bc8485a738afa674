"""Training throughput of this project's trainer and of stock Keras, on the published baselines.

Stock: `model.fit` on NumPy arrays in float32, as Keras compiles it by default. Ours:
`search.training.loop.train` in the fastest number format. Both train the same models with batches
of 128 in one thread, alternately, each in a new process. The first epoch, in which TensorFlow
compiles, is not counted.

    python -m benchmarks.throughput                       # images per CPU second, for each model
    python -m benchmarks.throughput --workers-benchmark   # trials per hour, two workers or one
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BATCH_SIZE = 128
SIDES = ("stock", "ours")


def main() -> None:
    from rich.console import Console

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000, help="training images (%(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs, 2 or more (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs per side (%(default)s)")
    parser.add_argument("--models", nargs="+", help="baselines, or residual (default: all)")
    parser.add_argument("--precision", default="best", choices=("best", "bfloat16", "float32"))
    parser.add_argument("--workers-benchmark", action="store_true", help="measure trials per hour")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        side, models = args.run
        _train_all(side, models.split(","), args)
        return
    models = args.models or list(_configs())
    table = _workers_table(models, args) if args.workers_benchmark else _table(models, args)
    Console(width=120).print(table)


def _configs() -> dict[str, Any]:
    from spaces.baselines import BASELINES
    from spaces.cnn import CnnSpace

    return {baseline.name: baseline.config for baseline in BASELINES} | {
        "residual": CnnSpace().default
    }


def _table(models: list[str], args: argparse.Namespace) -> Any:
    from rich.table import Table

    table = Table(
        title=f"Epoch of {args.images} images, validation on a sixth as many, one thread, "
        f"median of {args.repeats} runs"
    )
    table.add_column("model")
    for column in (
        *("parameters", "stock img/CPU-s", "ours img/CPU-s", "CPU ratio", "lowest"),
        *("stock CPU s", "ours CPU s", "wall ratio"),
    ):
        table.add_column(column, justify="right")
    for model in models:
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(args.repeats):
            for side in SIDES:
                process = _start(side, [model], args, threads=1)
                runs[side].append(_finish(process)[0])
        cpu, wall = (
            {side: [run[key] for run in runs[side]] for side in SIDES} for key in ("cpu", "wall")
        )
        median = statistics.median
        pairs = zip(cpu["stock"], cpu["ours"], strict=True)
        table.add_row(
            model,
            f"{runs['ours'][0]['parameters']:,.0f}",
            *(f"{args.images / median(cpu[side]):,.0f}" for side in SIDES),
            f"{median(cpu['stock']) / median(cpu['ours']):.2f}",
            f"{min(stock / ours for stock, ours in pairs):.2f}",
            *(f"{median(cpu[side]):.2f}" for side in SIDES),
            f"{median(wall['stock']) / median(wall['ours']):.2f}",
        )
    return table


def _workers_table(models: list[str], args: argparse.Namespace) -> Any:
    """Time the same trials: ours in two processes of one thread, stock in one on all cores."""
    from rich.table import Table

    trials = [model for model in models for _ in range(2)]
    hours: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(args.repeats):
        for side in SIDES:
            began = time.perf_counter()
            if side == "stock":
                _finish(_start(side, trials, args, threads=None))
            else:
                # Each worker trains one of every model, so that both end at about the same time.
                halves = [_start(side, trials[half::2], args, threads=1) for half in (0, 1)]
                for process in halves:
                    _finish(process)
            hours[side].append(len(trials) * 3600 / (time.perf_counter() - began))
    table = Table(title=f"{len(trials)} trials of {args.epochs} epochs, n = {args.repeats}")
    for column in ("side", "trials/hour (median)", "lowest", "highest", "ratio of medians"):
        table.add_column(column)
    base = statistics.median(hours["stock"])
    for side, name in (("stock", "one stock process, all cores"), ("ours", "two workers")):
        rates = hours[side]
        middle = statistics.median(rates)
        table.add_row(
            name, f"{middle:.0f}", f"{min(rates):.0f}", f"{max(rates):.0f}", f"{middle / base:.2f}"
        )
    return table


def _start(
    side: str, models: list[str], args: argparse.Namespace, *, threads: int | None
) -> "subprocess.Popen[str]":
    limits = {} if threads is None else {"TF_NUM_INTRAOP_THREADS": str(threads)}
    if threads is not None:
        limits |= {"TF_NUM_INTEROP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TF_NUM_", "OMP_NUM"))
    }
    return subprocess.Popen(
        [
            # Run as a module: in the folder of a script, benchmarks/search.py would hide `search`.
            *(sys.executable, "-m", "benchmarks.throughput", "--run", side, ",".join(models)),
            *("--images", str(args.images), "--epochs", str(args.epochs)),
            *("--precision", args.precision),
        ],
        env=kept | limits | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: "subprocess.Popen[str]") -> list[dict[str, float]]:
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"throughput: a training process failed:\n{errors}")
    return [json.loads(line) for line in output.splitlines()]


def _train_all(side: str, models: list[str], args: argparse.Namespace) -> None:
    import keras

    from search.data.files import find_data
    from search.data.split import SplitSizes, load_split
    from search.training.hardware import best_precision, set_precision
    from spaces.cnn_model import build_model

    precision = best_precision() if args.precision == "best" else args.precision
    split = load_split(find_data(), SplitSizes(train=args.images, val=max(10, args.images // 6)))
    for name in models:
        keras.backend.clear_session()
        set_precision("float32" if side == "stock" else precision)
        keras.utils.set_random_seed(0)
        model = build_model(_configs()[name])
        # CPU time of all threads, at the end of each epoch with its validation.
        ends: list[tuple[float, float]] = []
        train_one = _train_stock if side == "stock" else _train_ours
        train_one(model, split, args.epochs, lambda ends=ends: ends.append(_clocks()))
        spans = list(pairwise(ends))
        result = {
            "cpu": statistics.median(after[0] - before[0] for before, after in spans),
            "wall": statistics.median(after[1] - before[1] for before, after in spans),
            "parameters": model.count_params(),
        }
        print(json.dumps(result))


def _clocks() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def _train_stock(model: Any, split: Any, epochs: int, at_epoch_end: Callable[[], None]) -> None:
    import keras
    import numpy as np

    def prepare(images: Any) -> Any:
        return images[..., None] / np.float32(255)

    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        prepare(split.train_images),
        split.train_labels,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_data=(prepare(split.val_images), split.val_labels),
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: at_epoch_end())],
    )


def _train_ours(model: Any, split: Any, epochs: int, at_epoch_end: Callable[[], None]) -> None:
    from search.training.loop import train
    from spaces.training import TrainingConfig

    def go_on(epoch: int, entry: dict[str, float]) -> bool:
        at_epoch_end()
        return False

    config = TrainingConfig(batch_size=BATCH_SIZE)
    train(model, config, split, max_epochs=epochs, seed=0, on_epoch=go_on)


if __name__ == "__main__":
    main()
