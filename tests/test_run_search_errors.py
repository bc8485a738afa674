"""The search command, given what cannot work: one line, exit code 2, nothing lost."""

import json
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from run_search import main
from search.errors import SettingsError
from tests import LONGEST_SECONDS
from tests.command_line import (
    QUICK,
    command,
    environment,
    exit_code,
    kept_handlers,
    run,
    study,
)
from tests.search_here import run_here

BEGUN = (*QUICK, "--precision", "float32", "--trials", "1", "--workers", "1")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Path:
    """A folder with the study `mlp` of the command `BEGUN`; tests copy it."""
    directory = tmp_path_factory.mktemp("begun")
    ended = run_here(directory, small_data, *BEGUN, "--quiet")
    assert ended.returncode == 0, ended.stderr
    return directory


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    with kept_handlers():
        yield


def test_an_outcome_that_cannot_be_printed_is_one_line(
    tmp_path: Path, small_data: Path, begun: Path
) -> None:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            command(*BEGUN, "--json", "--quiet"),
            cwd=tmp_path,
            env=environment(small_data),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LONGEST_SECONDS,
        )
    assert ran.returncode == 2
    assert ran.stderr.startswith("run_search: [Errno 28] No space left on device")
    assert "Traceback" not in ran.stderr


ERRORS = {
    "unknown space": (["--space", "cn"], "Did you mean 'cnn'?"),
    "unknown sampler": (
        ["--sampler", "tpo"],
        "--sampler 'tpo' is unknown; use one of near-best, tpe,",
    ),
    "unknown pruner": (["--pruner", "hyper"], "Did you mean 'hyperband'?"),
    "no trials": (["--trials", "0"], "--trials is 0; it must be above 0."),
    "workers in words": (
        ["--workers", "two"],
        "--workers is 'two'; it must be auto or a whole number above 0",
    ),
    "unwritable results": (["--results-dir", "/dev/null/x"], "cannot be written"),
    "missing data": (["--data", "nowhere"], "--data 'nowhere' is neither a name (fashion_mnist,"),
    "data of an unknown user": (
        ["--data", "~no-such-user/photos"],
        "--data '~no-such-user/photos' is neither a name",
    ),
    "misspelt data": (["--data", "cifar"], "nor a path that exists. Did you mean 'cifar10'?"),
    "image size of a name": (
        ["--image-size", "32"],
        "--image-size is 32, but the images of fashion_mnist have a fixed size; leave it out.",
    ),
    "small images": (["--image-size", "8"], "--image-size is 8; it must be"),
    "words for numbers": (
        ["--trials", "abc"],
        "--trials is 'abc'; it must be a whole number above 0; see",
    ),
    "words for seconds": (["--timeout", "1h"], "--timeout is '1h'; it must be a number above 0"),
    "words for a port": (
        ["--dashboard-port", "http"],
        "--dashboard-port is 'http'; it must be a whole number from 0 to 65535; see",
    ),
    "no value": (["--trials"], "run_search: --trials needs a value; see --help."),
    "no URL": (
        ["--storage", "foo"],
        "run_search: --storage is not a database URL; write sqlite:///",
    ),
    "no such module": (["--space", "nothing:Here"], "cannot import module 'nothing'"),
    "too much validation": (["--val-size", "99999"], "--val-size is 99999"),
    "unreachable database": (
        ["--storage", "sqlite:////dev/null/x.db"],
        "--storage sqlite:////dev/null/x.db cannot be opened",
    ),
    "port out of range": (
        ["--dashboard-port", "99999"],
        "--dashboard-port is 99999; it must be 65535 or less.",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path,
    small_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    flags, message = ERRORS[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data))
    assert exit_code(main, "--val-size", "100", *flags) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("run_search: ")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--data", "--data 'loop' is neither a name (fashion_mnist,"),
        ("--from", "--from is 'loop', which is not the folder of a study"),
        ("--results-dir", "loop/cnn cannot be written (Too many levels of symbolic links)"),
    ],
)
def test_links_in_a_circle_are_one_line(
    tmp_path: Path,
    small_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    message: str,
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data))
    assert exit_code(main, "--val-size", "100", flag, "loop") == 2
    assert message in capsys.readouterr().err


def test_a_wrong_flag_ends_the_process_with_one_line(tmp_path: Path, small_data: Path) -> None:
    flags, line = ERRORS["no value"]
    ran = run(tmp_path, small_data, *flags)
    assert ran.returncode == 2
    assert ran.stderr == f"{line}\n"


def test_a_port_in_use_is_refused(tmp_path: Path, small_data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = run_here(tmp_path, small_data, *QUICK, "--trials", "1", "--dashboard-port", port)
    assert ran.returncode == 2
    assert f"--dashboard-port {port} cannot be used (Address already in use)" in ran.stderr


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_damaged_data_is_named_with_the_md5_it_should_have(
    tmp_path: Path, small_data: Path, damage: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for file in small_data.iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    images = data / "train-images-idx3-ubyte.gz"
    content = images.read_bytes()
    images.write_bytes(content[:1000] if damage == "truncated" else content[:-1] + b"x")
    expected = (small_data / "MD5SUMS").read_text().split()[0]
    ran = run_here(tmp_path, data, *QUICK, "--trials", "1")
    assert ran.returncode == 2
    assert str(images) in ran.stderr
    assert expected in ran.stderr


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--space", "cnn", "--study", "mlp"], "space 'mlp'; this run asks for 'cnn'"),
        (["--epochs", "3"], "epochs 2; this run asks for 3"),
        (["--precision", "bfloat16"], "precision 'float32'; this run asks for 'bfloat16'"),
        (["--val-size", "90"], "split"),
    ],
)
def test_a_study_that_cannot_be_compared_is_refused_and_unharmed(
    tmp_path: Path, small_data: Path, begun: Path, flags: list[str], names: str
) -> None:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    before = study(tmp_path, "mlp").trials
    for dry in ([], ["--dry-run"]):
        ran = run_here(tmp_path, small_data, *BEGUN, *flags, *dry)
        assert ran.returncode == 2
        assert names in ran.stderr
        assert "--study NAME" in ran.stderr
        assert study(tmp_path, "mlp").trials == before


def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, small_data: Path, begun: Path
) -> None:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    size = (tmp_path / "results" / "mlp" / "study.journal").stat().st_size
    # A limit on the size of files fails a write as a full disk does.
    full = subprocess.run(
        command(*BEGUN, "--trials", "3"),
        cwd=tmp_path,
        env=environment(small_data),
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (size + 1500, resource.RLIM_INFINITY)
        ),
    )
    assert full.returncode == 2
    assert "cannot be read or written: [Errno 27] File too large" in full.stderr
    assert "Traceback" not in full.stderr
    ended = run_here(tmp_path, small_data, *BEGUN, "--trials", "3", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["finished"] == 3


REFUSED = {
    "too few training images": ["--train-size", "5"],
    "too much validation": ["--val-size", "600"],
    "missing package": ["--sampler", "cmaes"],
    "misspelt module": ["--space", "nothing:Here"],
    "unknown database": ["--storage", "oracle9://host/db"],
    "unreachable database": ["--storage", "sqlite:////dev/null/x.db"],
    "database in memory": ["--storage", "sqlite:///:memory:"],
    "server that is down": ["--storage", "postgresql://me:secret@127.0.0.1:1/db"],
    "port out of range": ["--dashboard-port", "99999"],
    "database without a name": ["--storage", "sqlite://"],
    "name that a shell changes": ["--study", "''"],
    "folder of comparisons": ["--study", "compare"],
    "too many workers": ["--workers", "9999"],
    "the same in a database": ["--study", "a b", "--storage", "sqlite:///here.db"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_start_leaves_nothing(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    monkeypatch.chdir(tmp_path)
    assert main([*QUICK, "--study", "mine", "--data", str(small_data), *REFUSED[case]]) == 2
    assert not (tmp_path / "results").exists()
    assert not list(tmp_path.glob("*.db*"))


def test_a_refused_start_leaves_what_another_search_has_begun_meanwhile(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "results" / "mine" / "study.journal"

    def listen(host: str | None, port: int | None) -> None:
        journal.parent.mkdir(parents=True)
        journal.write_text("another's")
        raise SettingsError("--dashboard-port 8080 cannot be used")

    monkeypatch.setattr("search.run.listen", listen)
    monkeypatch.chdir(tmp_path)
    flags = ("--study", "mine", "--data", str(small_data), "--dashboard-port", "8080")
    assert main([*QUICK, *flags]) == 2
    assert journal.read_text() == "another's"


def test_a_start_that_only_a_worker_refuses_does_not_bind_the_study(
    tmp_path: Path, small_data: Path
) -> None:
    (tmp_path / "mine.py").write_text("class Net:\n    def build(self, hp): ...\n")
    begin = (*QUICK, "--trials", "1", "--study", "both")
    refused = run(tmp_path, small_data, *begin, "--space", "mine:Nett")
    assert refused.returncode == 2
    assert "Did you mean 'Net'?" in refused.stderr
    assert "dashboard: " not in refused.stderr
    assert not (tmp_path / "results").exists()
    ended = run_here(tmp_path, small_data, *begin, "--space", "mlp", "--json", "--quiet")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["best"]["name"] == "default"


def test_a_space_that_is_refused_while_exploring_leaves_nothing(
    tmp_path: Path, small_data: Path
) -> None:
    (tmp_path / "mine.py").write_text("class Net:\n    def build(self, hp): ...\n")
    flags = ("--trials", "1", "--space", "mine:Nett", "--engine", "keras-tuner", "--quiet")
    refused = run(tmp_path, small_data, "--val-size", "100", *flags)
    assert refused.returncode == 2
    assert [line[:12] for line in refused.stderr.splitlines()] == ["run_search: "]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("content", ["garbage\n", "this is no journal\nnor this\n"])
def test_an_unreadable_journal_is_one_line(tmp_path: Path, small_data: Path, content: str) -> None:
    folder = tmp_path / "results" / "mlp"
    folder.mkdir(parents=True)
    (folder / "study.journal").write_text(content)
    ran = run_here(tmp_path, small_data, *QUICK, "--trials", "1")
    assert ran.returncode == 2
    assert "study.journal cannot be read as a study: its line 1 is damaged" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert (folder / "study.journal").read_text() == content


@pytest.mark.parametrize("name", ["logs", "search.lock", "artifacts", ".writable"])
def test_links_in_a_studys_folder_are_not_followed_out_of_it(
    tmp_path: Path,
    small_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    folder, outside = tmp_path / "results" / "mlp", tmp_path / "outside"
    folder.mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("mine")
    (folder / name).symlink_to(outside / "file" if "." in name else outside)
    monkeypatch.chdir(tmp_path)
    assert main([*QUICK, "--study", "mlp", "--data", str(small_data)]) == 2
    assert f"{folder / name} is a symbolic link, a pipe or a device" in capsys.readouterr().err
    assert [file.read_text() for file in outside.iterdir()] == ["mine"]
