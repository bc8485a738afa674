"""Start a program of the top level as a person would, and look at what it leaves."""

import fcntl
import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.command_line.process import STOP_SIGNALS
from search.study.storage import open_storage
from tests import LONGEST_SECONDS

ROOT = Path(__file__).resolve().parent.parent
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
QUICK = ("--space", "mlp", "--epochs", "2", "--val-size", "100")


def command(*flags: str, program: str = "run_search.py") -> list[str]:
    return [sys.executable, str(ROOT / program), *flags]


def environment(data: Path) -> dict[str, str]:
    # As where the virtual environment is active: there the commands are called `python`.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"FASHION_MNIST_DIR": str(data), "PATH": path}


def run(
    directory: Path,
    data: Path,
    *flags: str,
    seconds: float = LONGEST_SECONDS,
    program: str = "run_search.py",
) -> subprocess.CompletedProcess[str]:
    """Run the command in `directory` to its end."""
    return subprocess.run(
        command(*flags, program=program),
        cwd=directory,
        env=environment(data),
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def exit_code(main: Callable[[Sequence[str]], int], *flags: str) -> int | str | None:
    """Call the `main` of a command in this process; return the exit code that it would have."""
    try:
        return main(flags)
    except SystemExit as ended:  # the parser refuses a flag
        return ended.code


def call(
    main: Callable[[Sequence[str]], int], directory: Path, data: Path, *flags: str, program: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as `run` does, but in this process, without its start of 3 seconds.

    Args:
        main: Of the command.
        directory: Its working directory.
        data: Folder of the IDX files.
        *flags: Of the command.
        program: Which command.
    """
    out, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        kept_handlers(),
        redirect_stdout(out),
        redirect_stderr(errors),
    ):
        patch.chdir(directory)
        patch.setattr(sys, "argv", command(*flags, program=program)[1:])
        for name in ("FASHION_MNIST_DIR", "PATH"):
            patch.setenv(name, environment(data)[name])
        code = exit_code(main, *flags)
    return subprocess.CompletedProcess(flags, code, out.getvalue(), errors.getvalue())


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Undo what a `main` sets for the rest of its process, which here is that of all tests."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def set_signals(ignored: tuple[signal.Signals, ...] = ()) -> None:
    """Ignore these of the signals that stop a command, and no other, whatever was inherited.

    Jobs that a shell starts with `&` inherit an ignored Ctrl-C.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)


def start(
    directory: Path,
    data: Path,
    *flags: str,
    program: str = "run_search.py",
    ignored: tuple[signal.Signals, ...] = (),
    streams: tuple[int, int, int] = (subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE),
    terminal: int | None = None,
    **variables: str,
) -> subprocess.Popen[str]:
    """Start the command in `directory`, in a process group of its own.

    Args:
        directory: Its working directory.
        data: Folder of the IDX files.
        *flags: Of the command.
        program: Which command.
        ignored: Signals that it finds ignored, as `nohup` leaves them; it finds no other so,
            whatever these tests themselves were started by.
        streams: Its standard input, output and error.
        terminal: Descriptor of the terminal that controls it.
        **variables: Of its environment.
    """

    def prepare() -> None:
        set_signals(ignored)
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    stdin, stdout, stderr = streams
    return subprocess.Popen(
        command(*flags, program=program),
        cwd=directory,
        env=environment(data) | variables,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )


class Terminal:
    """A terminal that controls one command, until it hangs up."""

    def __init__(self, directory: Path, data: Path, *flags: str, **options: Any) -> None:
        self.shown = b""
        self._side, theirs = pty.openpty()
        self.process = start(
            directory, data, *flags, **options, streams=(theirs, theirs, theirs), terminal=theirs
        )
        os.close(theirs)
        self._hung_up = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def hang_up(self) -> None:
        """Close it: the kernel sends SIGHUP, and writing to it fails with EIO."""
        self._hung_up.set()
        self._reader.join()
        os.close(self._side)

    def _read(self) -> None:
        while not self._hung_up.is_set():
            if select.select([self._side], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self._side, 1 << 16)
                except OSError:  # the command has ended
                    return


def study(directory: Path, name: str) -> optuna.Study:
    """The study as it is on the disk now."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = (directory / "results" / name / "study.journal").resolve()
    return optuna.load_study(study_name=name, storage=open_storage(journal, None))


def count(directory: Path, name: str, *states: TrialState) -> int:
    """Trials in these states; 0 while there is no study."""
    journal = directory / "results" / name / "study.journal"
    if not journal.exists():
        return 0
    try:
        return len(study(directory, name).get_trials(deepcopy=False, states=states))
    except KeyError:
        return 0


def wait_until(condition: Callable[[], object], seconds: float = LONGEST_SECONDS) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.25)


def assert_no_tensorflow(pid: int) -> None:
    """Check that a process, that of a coordinator, has not loaded TensorFlow."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "python" in maps
    assert "tensorflow" not in maps


def children(pid: int) -> list[int]:
    """The training processes of a running search or report."""
    import psutil

    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # ended while we looked, or is a zombie
            if any("spawn_main" in part for part in child.cmdline()):
                found.append(child.pid)
    return found
