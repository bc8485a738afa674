"""Compare this project's search with other libraries at the same CPU seconds.

python -m benchmarks.peers                     # run what the file lacks, then print the tables
python -m benchmarks.peers --summary --plot peers.svg
"""

import argparse
import os
import queue
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from benchmarks.peers.images import write_images
from benchmarks.peers.job import Job
from benchmarks.peers.plotting import draw
from benchmarks.peers.registry import LEAGUES, PEERS
from benchmarks.peers.results import Finished, append, read
from benchmarks.peers.running import SearchFailedError, run
from benchmarks.peers.summary import print_summary
from search.study.provenance import commit
from search.training.hardware import machine


def main() -> None:
    """Run the searches that are missing, and print the tables."""
    flags = _parser().parse_args()
    if not flags.summary:
        _run_missing(_jobs(flags), max(flags.budgets), flags.file)
    searches = read(flags.file)
    console = Console(width=max(130, Console().width))
    console.print(
        "Score of the incumbent on validation images that no search sees, mean and 95 % t "
        "interval over n seeds; differences paired by seed, p of Wilcoxon's paired test, "
        "Holm-corrected within a table; mean rank over the seeds that all methods have."
    )
    print_summary(searches, sorted(flags.budgets), console)
    if flags.plot is not None:
        draw(searches, flags.plot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budgets", type=float, nargs="+", default=[100, 200, 400], metavar="S")
    parser.add_argument("--seeds", type=int, default=8, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="(default: 0)")
    parser.add_argument("--train-size", type=int, default=10_000, metavar="N")
    parser.add_argument(
        "--val-size", type=int, default=10_000, metavar="N", help="half of them score"
    )
    parser.add_argument("--epochs", type=int, default=8, metavar="N", help="maximum of a trial")
    parser.add_argument("--space", default="cnn", choices=("cnn", "mlp"))
    parser.add_argument("--leagues", nargs="+", default=LEAGUES, choices=LEAGUES)
    parser.add_argument("--only", nargs="+", default=list(PEERS), choices=PEERS, metavar="NAME")
    parser.add_argument(
        "--first",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="try the space's first configurations first (default: yes)",
    )
    parser.add_argument(
        "--isa",
        default="all",
        choices=("all", "avx2"),
        help="avx2: train as on a machine without AVX-512",
    )
    parser.add_argument("--file", type=Path, default=Path("benchmarks/peers.jsonl"))
    parser.add_argument("--summary", action="store_true", help="only print the file's tables")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw accuracy over CPU seconds")
    return parser


def _jobs(flags: argparse.Namespace) -> list[Job]:
    """Return all searches, seed by seed, so that an unfinished comparison is paired."""
    return [
        Job(
            peer=name,
            league=league,
            seed=seed,
            first=flags.first,
            space=flags.space,
            train_size=flags.train_size,
            val_size=flags.val_size,
            epochs=flags.epochs,
            isa=flags.isa,
        )
        for seed in range(flags.first_seed, flags.first_seed + flags.seeds)
        for name in flags.only
        for league in (flags.leagues if PEERS[name].in_leagues else ("both",))
    ]


def _run_missing(jobs: list[Job], budget: float, file: Path) -> None:
    # The commit now: the rows that are added count as changes to it.
    here, code = machine(), commit()
    done = {one.job for one in read(file) if one.machine == here and one.budget >= budget}
    cores: queue.Queue[int] = queue.Queue()
    for core in sorted(os.sched_getaffinity(0)):
        cores.put(core)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder)
        missing = [job for job in jobs if job not in done]
        if missing:
            write_images(images, missing[0].val_size)

        def work(job: Job) -> None:
            core = cores.get()
            name = f"{job.peer}, {job.league}, seed {job.seed}"
            try:
                events = run(job, core=core, budget=budget, images=images)
            except SearchFailedError as error:
                print(f"{name}: failed: {error}", file=sys.stderr, flush=True)
                return
            finally:
                cores.put(core)
            finished = Finished(job=job, machine=here, commit=code, budget=budget, events=events)
            append(file, finished)
            shown = f"{len(events)} epochs, {finished.score_at(budget):.4f}"
            print(f"{name}: {shown}", file=sys.stderr, flush=True)

        pool = ThreadPoolExecutor(cores.qsize())
        try:
            for running in [pool.submit(work, job) for job in missing]:
                running.result()
        finally:
            pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
