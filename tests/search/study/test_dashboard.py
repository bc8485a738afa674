"""The dashboard that a search serves: over real HTTP, and in a real browser where there is one."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from search.study.artifacts import Artifacts
from search.study.dashboard import dashboard_command, serve_dashboard
from tests.search.harness import search

CHROMIUM = shutil.which("chromium")
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
)


def serve(directory: Path, **flags: bool) -> str:
    search(directory, space="conditional", trials=2, pruner="none")
    return serve_dashboard(
        directory / "study.journal",
        None,
        directory / "artifacts",
        port=None,
        writable=flags.get("writable", False),
    )


def request(address: str, method: str = "GET") -> bytes:
    asked = urllib.request.Request(address, method=method, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return bytes(answer.read())


def test_it_serves_trials_notes_and_artifacts(tmp_path: Path) -> None:
    address = serve(tmp_path)
    detail = json.loads(request(f"{address}api/studies/0?after=0"))
    trial = detail["trials"][0]
    assert [step["step"] for step in trial["intermediate_values"]] == list(range(1, 10))
    assert "Parameters" in trial["note"]["body"]
    for artifact in trial["artifacts"]:
        content = request(f"{address}artifacts/0/0/{artifact['artifact_id']}")
        assert content in (b"\x89PNG simulated", b"summary")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_refuses_to_change_anything(tmp_path: Path, method: str) -> None:
    address = serve(tmp_path)
    with pytest.raises(urllib.error.HTTPError) as refused:
        request(f"{address}api/studies/0", method)
    assert refused.value.code == 405


def test_it_may_be_made_writable(tmp_path: Path) -> None:
    address = serve(tmp_path, writable=True)
    request(f"{address}api/studies/0", "DELETE")
    assert json.loads(request(f"{address}api/studies"))["study_summaries"] == []


def test_its_own_command_names_storage_and_artifacts_without_the_password(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "artifacts").directory
    journal = tmp_path / "study.journal"
    line = dashboard_command(journal, None, artifacts)
    assert line.endswith(f"optuna-dashboard {journal} --artifact-dir {artifacts}")
    line = dashboard_command(journal, "postgresql://me:secret@host/db", artifacts)
    assert "postgresql://me:***@host/db" in line
    assert "secret" not in line


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_a_trial_with_its_note_and_values(tmp_path: Path) -> None:
    address = serve(tmp_path)
    page = subprocess.run(
        [
            str(CHROMIUM),
            *_QUIET,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            f"{address}dashboard/studies/0/trials?numbers=1",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    for part in ("Trial 1", "Complete", "validation accuracy", "learning_curve.png", "layers"):
        assert part in page
