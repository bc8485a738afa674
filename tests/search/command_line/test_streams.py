"""Standard streams: closed, full, not blocking, or of a terminal that goes away."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests import LONGEST_SECONDS
from tests.command_line import ROOT

PREPARED = """
import os, subprocess, sys
sys.path.insert(0, {root!r})
from search.command_line.process import prepare_process
prepare_process()
"""


def command(body: str, redirections: str = "") -> list[str]:
    """The command line of a program that prepares its process, with redirections of a shell."""
    program = PREPARED.format(root=str(ROOT)) + body
    return ["sh", "-c", f'exec "$0" -c "$1" {redirections}', sys.executable, program]


def run(body: str, redirections: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | variables
    words = command(body, redirections)
    return subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS
    )


@pytest.mark.parametrize("redirections", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_stream_leads_nowhere_also_for_child_processes(
    tmp_path: Path, redirections: str
) -> None:
    said = tmp_path / "said"
    ended = run(
        f"""
opened = open({str(said)!r}, "w")
assert opened.fileno() > 2
print("to nobody", flush=True)
print("to nobody", file=sys.stderr)
child = "import os, sys; [os.fstat(number) for number in range(3)]; print('hello')"
subprocess.run([sys.executable, "-c", child], check=True)
opened.write("done")
""",
        redirections,
    )
    assert ended.returncode == 0, ended.stderr
    assert said.read_text() == "done"


def test_what_cannot_be_printed_for_lack_of_space_is_an_error_of_standard_output_only() -> None:
    ended = run("print('a log line', file=sys.stderr)", "2>/dev/full")
    assert (ended.returncode, ended.stdout) == (0, "")
    ended = run(
        """
try:
    print("the outcome")
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
""",
        ">/dev/full",
    )
    assert ended.returncode == 2
    assert ended.stderr == "[Errno 28] No space left on device: 'standard output'\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_away_changes_nothing(stream: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    body = f"for _ in range(3): print('a line', file=sys.{stream})\nsys.exit(7)"
    process = subprocess.Popen(command(body), stdout=writing, stderr=writing)
    os.close(writing)
    assert process.wait(LONGEST_SECONDS) == 7


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_pipe_that_does_not_block_gets_everything(stream: str) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    body = f"print('x' * 1_000_000, file=sys.{stream})"
    with subprocess.Popen(command(body), stdout=writing, stderr=writing) as process:
        os.close(writing)
        with open(reading) as reader:
            assert reader.read() == "x" * 1_000_000 + "\n"
    assert process.returncode == 0


DISPLAYS = {
    "live": "from search.display import LiveDisplay, Progress\n"
    "from rich.console import Console\n"
    "display = LiveDisplay(Console(stderr=True, force_terminal=True))\n"
    "def draw():\n"
    "    display.update(Progress(target=9, max_epochs=9))\n"
    "    display.note('a note')\n",
    "plain": "from search.display import PlainDisplay\n"
    "display = PlainDisplay()\n"
    "def draw(): display.log('a line')\n",
    "report": "from reporting.retrainer import make_progress\n"
    "display = make_progress(quiet=False)\n"
    "task = display.add_task('retraining', total=99)\n"
    "def draw():\n"
    "    display.advance(task)\n"
    "    display.refresh()\n"
    "    display.console.print('a line')\n",
}


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_display_falls_silent_when_its_terminal_goes_away(display: str) -> None:
    terminal, side = pty.openpty()
    body = f"""
{DISPLAYS[display]}
with display:
    draw()
    os.write(1, b"drawn\\n")  # print() would go through the display
    sys.stdin.readline()
    for _ in range(3): draw()
print("silent", flush=True)
sys.exit(7)
"""
    words = command(body)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=side, text=True
    ) as process:
        os.close(side)
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "drawn\n"
        assert os.read(terminal, 1)
        os.close(terminal)
        assert process.communicate("go on\n", timeout=LONGEST_SECONDS)[0] == "silent\n"
    assert process.returncode == 7


def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    ended = run("print('größe'); print('größe', file=sys.stderr)", PYTHONIOENCODING="ascii")
    assert (ended.stdout, ended.stderr) == ("gr\\xf6\\xdfe\n", "gr\\xf6\\xdfe\n")
    ended = run("print('a\\udcffb')", PYTHONIOENCODING="utf-8")
    assert ended.stdout == "a\\udcffb\n"


def test_foreign_text_cannot_control_the_terminal() -> None:
    ended = run("print('\\x1b[31mred')")
    assert ended.stdout == "\\x1b[31mred\n"
