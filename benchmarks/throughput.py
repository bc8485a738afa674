"""Training throughput of this project's trainer and of stock Keras, on the published baselines.

Stock: `model.fit` on NumPy arrays in float32, as Keras compiles it by default, once as TensorFlow
is installed and once with its oneDNN kernels turned on. Ours: `search.training.loop.train` in the
fastest number format. All train the same models by Adam with batches of 128 in one thread,
alternately, each in a new process. The first epoch, in which TensorFlow compiles, is not counted.
The space's default is trained without its whitening.

    python -m benchmarks.throughput                       # images per CPU second, for each model
    python -m benchmarks.throughput --isa avx2            # as on an ordinary machine
    python -m benchmarks.throughput --workers-benchmark   # trials per hour, two workers or one
"""

import argparse
import json
import math
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
# "onednn" is stock Keras with TensorFlow's oneDNN kernels.
SIDES = ("stock", "onednn", "ours")
# Operations of an epoch per multiply-add of a forward pass: 2, and a backward pass costs two
# forward passes.
_OPERATIONS = 6


def main() -> None:
    from rich.console import Console

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000, help="training images (%(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs, 2 or more (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs per side (%(default)s)")
    parser.add_argument("--models", nargs="+", help="baselines, or default: of the cnn space (all)")
    parser.add_argument("--precision", default="best", choices=("best", "bfloat16", "float32"))
    parser.add_argument(
        "--isa", choices=("avx2",), help="measure an AVX-512 machine as one with AVX2 only"
    )
    parser.add_argument("--workers-benchmark", action="store_true", help="measure trials per hour")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        side, models = args.run
        _train_all(side, models.split(","), args)
        return
    if args.isa:
        args.precision = "float32"
    models = args.models or list(_configs())
    table = _workers_table(models, args) if args.workers_benchmark else _table(models, args)
    Console(width=120).print(table)


def _configs() -> dict[str, Any]:
    from spaces.baselines import BASELINES, PUBLISHED_FOR
    from spaces.cnn import CnnConfig

    return {baseline.name: baseline.config for baseline in BASELINES} | {
        "default": CnnConfig.from_params({}, PUBLISHED_FOR)
    }


def _table(models: list[str], args: argparse.Namespace) -> Any:
    from rich.table import Table

    peaks = _finish(_start("peak", models[:1], args, threads=1))[0]
    table = Table(
        title=f"Epoch of {args.images} images, validation on a sixth as many, one thread, "
        f"median of {args.repeats} runs; GEMM peak "
        + ", ".join(f"{name} {peak:.0f} GFLOP/s" for name, peak in peaks.items())
    )
    table.add_column("model")
    for column in (
        *("MMAC", "stock img/CPU-s", "stock, oneDNN", "ours", "ours / stock", "lowest"),
        *("ours / oneDNN", "lowest", "ours, share of peak"),
    ):
        table.add_column(column, justify="right")
    for model in models:
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(args.repeats):
            for side in SIDES:
                runs[side] += _finish(_start(side, [model], args, threads=1))
        cpu = {side: [run["cpu"] for run in runs[side]] for side in SIDES}
        medians = {side: statistics.median(cpu[side]) for side in SIDES}
        ratios: list[str] = []
        for side in ("stock", "onednn"):
            pairs = zip(cpu[side], cpu["ours"], strict=True)
            ratios.append(f"{medians[side] / medians['ours']:.2f}")
            ratios.append(f"{min(theirs / ours for theirs, ours in pairs):.2f}")
        ours = runs["ours"][0]
        # Validation is a forward pass, a third of a training step, for a sixth of the images.
        passes = args.images + max(10, args.images // 6) / 3
        speed = _OPERATIONS * ours["macs"] * passes / medians["ours"] / 1e9
        table.add_row(
            model,
            f"{ours['macs'] / 1e6:.1f}",
            *(f"{args.images / medians[side]:,.0f}" for side in SIDES),
            *ratios,
            f"{speed / peaks['bfloat16' if ours['bfloat16'] else 'float32']:.0%}",
        )
    return table


def _workers_table(models: list[str], args: argparse.Namespace) -> Any:
    """Time the same trials: ours in two processes of one thread, stock in one on all cores."""
    from rich.table import Table

    trials = [model for model in models for _ in range(2)]
    hours: dict[str, list[float]] = {side: [] for side in ("stock", "ours")}
    for _ in range(args.repeats):
        for side in hours:
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
    if args.isa:
        limits["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    if side == "onednn":
        limits["TF_ENABLE_ONEDNN_OPTS"] = "1"
    elif side == "stock" and args.isa:
        limits["TF_ENABLE_ONEDNN_OPTS"] = "0"
    removed = ("TF_NUM_", "OMP_NUM", "TF_ENABLE_ONEDNN", "ONEDNN_MAX")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
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
    from search.training.hardware import start_tensorflow

    if side in ("ours", "peak"):  # stock Keras starts as it is installed
        start_tensorflow()
    import keras

    from search.data.formats import open_dataset
    from search.data.split import SplitSizes, load_split
    from search.training.hardware import best_precision, set_precision
    from spaces.cnn_model import build_model

    precision = best_precision() if args.precision == "best" else args.precision
    if side == "peak":
        formats = ("float32",) if precision == "float32" else ("float32", precision)
        print(json.dumps({name: _gemm_peak(name) for name in formats}))
        return
    sizes = SplitSizes(train=args.images, val=max(10, args.images // 6))
    split = load_split(open_dataset(None), sizes)
    for name in models:
        keras.backend.clear_session()
        set_precision(precision if side == "ours" else "float32")
        keras.utils.set_random_seed(0)
        model = build_model(_configs()[name], split.shape.image_shape, split.classes)
        # CPU time of all threads, at the end of each epoch with its validation.
        ends: list[float] = []
        train_one = _train_ours if side == "ours" else _train_stock
        train_one(model, split, args.epochs, lambda ends=ends: ends.append(time.process_time()))
        result = {
            "cpu": statistics.median(after - before for before, after in pairwise(ends)),
            "macs": _multiply_adds(model),
            "bfloat16": side == "ours" and precision == "bfloat16",
        }
        print(json.dumps(result))


def _gemm_peak(precision: str) -> float:
    """Return the GFLOP/s of the best of 20 products of large matrices in CPU time."""
    import tensorflow as tf

    size = 1536
    matrix = tf.cast(tf.random.normal((size, size)), precision)
    multiply = tf.function(lambda: tf.matmul(matrix, matrix))
    multiply()
    seconds = []
    for _ in range(20):
        began = time.process_time()
        multiply().numpy()
        seconds.append(time.process_time() - began)
    return 2 * size**3 / min(seconds) / 1e9


def _multiply_adds(model: Any) -> int:
    """Count the multiply-adds of convolutions and dense layers for one image, forward."""
    import keras

    return sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    )


def _train_stock(model: Any, split: Any, epochs: int, at_epoch_end: Callable[[], None]) -> None:
    import keras
    import numpy as np

    def prepare(images: Any) -> Any:
        return images / np.float32(255)

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
