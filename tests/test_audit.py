"""The scan of packages tells vulnerable packages from an absent database."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit.py"
VULNERABILITY = {"id": "PYSEC-2026-1", "fix_versions": ["1.2"], "aliases": []}
SAFE = {"name": "safe", "version": "2.0", "vulns": []}
UNSAFE = {"name": "unsafe", "version": "1.1", "vulns": [VULNERABILITY]}
UNFIXED = {"name": "unsafe", "version": "1.1", "vulns": [VULNERABILITY | {"fix_versions": []}]}
UNKNOWN = {"name": "private", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "code", "output"),
    [
        ([SAFE], 0, "scan of packages: 0 of 1 have known vulnerabilities\n"),
        (
            [SAFE, UNSAFE],
            1,
            "unsafe 1.1: PYSEC-2026-1, fixed in 1.2\n"
            "scan of packages: 1 of 2 have known vulnerabilities\n",
        ),
        (
            [UNFIXED],
            1,
            "unsafe 1.1: PYSEC-2026-1, fixed in no version\n"
            "scan of packages: 1 of 1 have known vulnerabilities\n",
        ),
        (
            [SAFE, UNKNOWN],
            0,
            "scan of packages: 0 of 1 have known vulnerabilities\n"
            "not scanned: private (not found)\n",
        ),
        ([UNKNOWN], 0, "scan of packages skipped: the database knows none of them\n"),
        (None, 0, "scan of packages skipped: no network\n"),
    ],
)
def test_a_scan_says_what_it_found_or_why_it_was_skipped(
    tmp_path: Path, dependencies: list[dict[str, Any]] | None, code: int, output: str
) -> None:
    if dependencies is None:
        answer = "sys.exit('Traceback ...\\nno network')"
    else:
        answer = f"print({json.dumps({'dependencies': dependencies})!r}); sys.exit({code})"
    (tmp_path / "pip_audit.py").write_text(f"import sys\n{answer}\n")
    run = subprocess.run(
        [sys.executable, AUDIT],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (code, output), run.stderr
