"""The command at the end of a real search that was stopped, or that failed."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

from tests import LONGEST_SECONDS
from tests.command_line import FINISHED, QUICK, ROOT, count, start, wait_until

SCRIPT = """\
import sys
open("told.json", "w").write(sys.stdin.read())
print("said at the end")
sys.exit(3)
"""
ON_END = ("--on-end", f"{sys.executable} on_end.py")


def test_a_stopped_search_runs_the_command_and_keeps_its_exit_code(
    tmp_path: Path, small_data: Path
) -> None:
    (tmp_path / "on_end.py").write_text(SCRIPT)
    flags = (*QUICK, "--trials", "19", "--workers", "1", "--json", *ON_END)
    search = start(tmp_path, small_data, *flags)
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    os.killpg(search.pid, signal.SIGINT)
    output, errors = search.communicate(timeout=LONGEST_SECONDS)
    assert search.returncode == 130, errors
    assert errors.splitlines()[-2:] == [
        "said at the end",
        "--on-end: it ended with exit code 3; the search is not affected",
    ]
    facts, printed = json.loads((tmp_path / "told.json").read_text()), json.loads(output)
    assert (facts["status"], facts["stopped_by"]) == ("stopped", "Ctrl-C")
    assert printed["stopped_by"] == "Ctrl-C"
    assert printed["next"] == f"python {ROOT}/run_search.py {shlex.join(flags)}"
    same = ("study", "finished", "complete", "pruned", "failed", "best")
    assert [facts[key] for key in same] == [printed[key] for key in same]
