"""The comparison with other libraries."""

import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from benchmarks.peers.job import Job
from benchmarks.peers.plotting import draw
from benchmarks.peers.results import Finished, append, read
from benchmarks.peers.running import Event, _CpuClock, _watch
from benchmarks.peers.summary import corrected_p_values, groups, mean_ranks, scores_at
from tests.test_benchmarks import run


def job(peer: str, seed: int = 0) -> Job:
    return Job(
        peer=peer,
        league="both" if peer == "ours" else "system",
        seed=seed,
        first=True,
        space="mlp",
        train_size=300,
        val_size=100,
        epochs=1,
        isa="all",
    )


def finished(peer: str, seed: int, *events: tuple[float, float, float]) -> Finished:
    epochs = [Event(cpu_seconds=c, search=a, score=b) for c, a, b in events]
    return Finished(
        job=job(peer, seed), machine="a test", commit="a test", budget=100, events=epochs
    )


def test_two_methods_are_compared_and_continued(tmp_path: Path, small_data: Path) -> None:
    file = tmp_path / "peers.jsonl"
    flags = ["--space", "mlp", "--train-size", "300", "--val-size", "100", "--epochs", "1"]
    flags += ["--seeds", "1", "--budgets", "40", "--leagues", "system", "--file", str(file)]
    flags += ["--only", "ours", "random search", "--plot", str(tmp_path / "peers.svg")]
    output = run(small_data, "peers", *flags)
    assert "system league, with first configurations" in output
    searches = read(file)
    assert sorted(one.job.peer for one in searches) == ["ours", "random search"]
    assert all(one.events and one.events[-1].cpu_seconds <= 40 for one in searches)
    assert (tmp_path / "peers.svg").exists()
    lines = file.read_text()
    assert run(small_data, "peers", *flags) == output
    assert file.read_text() == lines


def test_the_incumbent_is_what_the_search_thinks_best() -> None:
    search = finished("ours", 0, (5, 0.7, 0.72), (10, 0.8, 0.75), (15, 0.75, 0.9), (30, 0.9, 0.8))
    assert [search.score_at(at) for at in (4, 5, 20, 30)] == [0.1, 0.72, 0.75, 0.8]


def test_the_file_keeps_the_longer_of_two_runs_and_skips_a_cut_line(tmp_path: Path) -> None:
    file = tmp_path / "peers.jsonl"
    short = finished("ours", 0, (5, 0.7, 0.72))
    long = replace(short, budget=200)
    elsewhere = replace(short, machine="another")
    for one in (short, long, elsewhere):
        append(file, one)
    with file.open("a") as opened:
        opened.write('{"peer": "ou')
    assert read(file) == [long, elsewhere]


def test_searches_of_other_images_or_machines_are_not_compared() -> None:
    both = [finished(name, 0, (5, 0.9, 0.8)) for name in ("ours", "random search")]
    fewer = [replace(one, job=replace(one.job, val_size=50)) for one in both]
    found = groups([*both, *fewer])
    assert [{one.job.val_size for one in group} for group in found.values()] == [{100}, {50}]
    assert ["300 + 100 images" in title for title in found] == [True, False]
    elsewhere = [replace(one, machine="another") for one in both]
    found = groups([*both, *elsewhere])
    assert [{one.machine for one in group} for group in found.values()] == [{"a test"}, {"another"}]
    assert [title.endswith("; another") for title in found] == [False, True]


def test_the_mean_of_six_seeds_is_drawn_with_its_interval(tmp_path: Path) -> None:
    for seeds, band in ((5, False), (6, True)):
        searches = [
            finished(name, seed, (5, 0.9, 0.8 + 0.01 * seed))
            for seed in range(seeds)
            for name in ("ours", "random search")
        ]
        draw(searches, tmp_path / "peers.svg")
        longer = [replace(one, budget=400.0) for one in searches if one.job.peer == "ours"]
        draw([*searches, *longer], tmp_path / "longer.svg")  # the other method ends at its budget
        assert ("FillBetween" in (tmp_path / "peers.svg").read_text()) is band


def test_a_method_has_one_look_in_all_panels(tmp_path: Path, monkeypatch: Any) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, file: drawn.append(self))
    names = ("ours", "random search", "Ray Tune ASHA")
    first = [finished(name, 0, (5, 0.9, 0.8)) for name in names[:2]]
    other = [finished(name, 0, (5, 0.9, 0.8)) for name in names[::2]]
    draw([*first, *(replace(one, machine="another") for one in other)], tmp_path / "peers.svg")
    (figure,) = drawn
    looks = [
        {
            line.get_label(): line.get_color()
            for line in axis.get_lines()
            if line.get_label() in names
        }
        for axis in figure.axes
    ]
    assert [set(one) for one in looks] == [set(names[:2]), set(names[::2])]
    colors = looks[0] | looks[1]
    assert looks[0]["ours"] == looks[1]["ours"]
    assert len(set(colors.values())) == 3
    (legend,) = figure.legends
    assert {
        text.get_text(): line.get_color()
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    } == colors


def test_ours_is_compared_with_each_other_method_by_seed() -> None:
    group = []
    for seed in range(8):
        level = 0.8 + 0.01 * seed
        group += [
            finished("ours", seed, (5, 0.9, level)),
            finished("random search", seed, (5, 0.9, level - 0.001 * (seed + 1))),
            finished("Ray Tune ASHA", seed, (5, 0.9, level)),
        ]
    scores = scores_at(group, 50)
    p_values = corrected_p_values(scores)
    assert p_values["random search"] == pytest.approx(2 * 2 / 2**8)  # all 8 signs alike, Holm of 2
    assert p_values["Ray Tune ASHA"] == 1
    five = {name: dict(list(by_seed.items())[:5]) for name, by_seed in scores.items()}
    assert corrected_p_values(five) == {}  # p could not be below 0.05
    assert mean_ranks(scores) == {"ours": 1.5, "Ray Tune ASHA": 1.5, "random search": 3.0}
    assert scores_at(group, 101) == {}  # beyond the budgets


SCORE_LATE = """
import json, os, sys, time
def burn(until):
    while time.process_time() < until:
        pass
burn(0.8)
began = time.process_time()
burn(1.6)
said = {"search": 0.9, "score": 0.8, "scoring_cpu_seconds": time.process_time() - began}
os.write(os.open(sys.argv[1], os.O_WRONLY), f"{json.dumps(said)}\\n".encode())
"""


@pytest.mark.parametrize(("budget", "scores", "code"), [(1.2, [0.8], 0), (0.3, [], None)])
def test_an_epoch_within_the_budget_may_be_scored_beyond_it(
    tmp_path: Path, budget: float, scores: list[float], code: int | None
) -> None:
    os.mkfifo(tmp_path / "events")
    pipe = os.open(tmp_path / "events", os.O_RDWR | os.O_NONBLOCK)
    try:
        command = [sys.executable, "-c", SCORE_LATE, str(tmp_path / "events")]
        with subprocess.Popen(command) as process:
            events, ended = _watch(process, pipe, budget)
    finally:
        os.close(pipe)
    assert [event.score for event in events] == scores
    assert ended == code


@pytest.mark.parametrize("before", ["", "signal.signal(signal.SIGCHLD, signal.SIG_IGN); "])
def test_the_clock_counts_children_that_have_ended(before: str) -> None:
    # Where SIGCHLD is ignored, as in Ray's processes, a child's times do not pass to its parent.
    work = "for _ in range(8): sum(range(10**7))"
    script = (
        f"import signal, subprocess, sys; {before}"
        f"subprocess.run([sys.executable, '-c', {work!r}]); print('ended', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        clock = _CpuClock(process.pid)
        began = clock.seconds()
        while not select.select([process.stdout], [], [], 0.02)[0]:
            clock.seconds()
        seconds = clock.seconds()
        assert seconds - began > 0.3
        process.communicate(b"\n")
    assert clock.seconds() == seconds
