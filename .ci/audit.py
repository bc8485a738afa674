"""Scan the installed packages for known vulnerabilities.

Exit code 1: a package has one. Raise its bound in the requirements files or, where the
vulnerability does not concern this project, name it in `ACCEPTED`. Where the database cannot be
reached, the scan is skipped, with a line that says so.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

ACCEPTED: tuple[str, ...] = ()  # identifiers; give the reason beside each
TIMEOUT_SECONDS = 300


def main() -> int:
    """Scan, print the outcome, and return the exit code."""
    freeze = [sys.executable, "-m", "pip", "freeze"]
    pins = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout.splitlines()
    pins = [pin for pin in pins if "==" in pin]
    # Ask about one package first: without an answer, the others need not be asked about.
    first, reason = scan(pins[:1])
    packages, reason = scan(pins) if known(first) else (first, reason)
    if not known(packages):
        print(f"scan of packages skipped: {reason or 'the database knows none of them'}")
        return 0
    found = [package for package in known(packages) if package["vulns"]]
    for package in found:
        for one in package["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}")
    print(f"scan of packages: {len(found)} of {len(known(packages))} have known vulnerabilities")
    for package in packages:
        if "skip_reason" in package:
            print(f"not scanned: {package['name']} ({package['skip_reason']})")
    return 1 if found else 0


def scan(pins: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """Return pip-audit's findings for pinned packages; without any, why there are none."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--desc", "off"]
    for accepted in ACCEPTED:
        command += ["--ignore-vuln", accepted]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        command += ["--requirement", file.name]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return [], f"no answer within {TIMEOUT_SECONDS} s"
    if not run.stdout.strip():
        return [], run.stderr.strip().rpartition("\n")[2]
    return json.loads(run.stdout)["dependencies"], ""


def known(packages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the packages that the database knows."""
    return [package for package in packages if "vulns" in package]


if __name__ == "__main__":
    sys.exit(main())
