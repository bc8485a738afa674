"""The dashboard that a search serves: over real HTTP, and in a real browser where there is one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.artifacts.exceptions import ArtifactNotFound

from search.errors import StudyError
from search.study.artifacts import Artifacts
from search.study.dashboard import _Artifacts, listen, serve_dashboard
from search.study.storage import open_storage
from search.study.stored import require_study
from tests import LONGEST_SECONDS
from tests.search.harness import load, search

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = b"<p>before</p><script>document.querySelector('p').textContent = 'after'</script>"
FILES = {
    "history.csv": b"epoch,",
    "learning_curve.png": b"\x89PNG simulated",
    "model.txt": b"summary",
}
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
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


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study; its first trial has an artifact that would run a script."""
    directory = tmp_path_factory.mktemp("results") / "test"
    directory.mkdir()
    search(directory, space="conditional", trials=2, pruner="none")
    study = load(directory)
    artifacts = Artifacts(directory / "artifacts")
    trial = study.ask()
    artifacts.add(trial, "evil.html", SCRIPT)
    artifacts.add(trial, "gone.txt", b"gone")
    (artifacts.directory / ids_of(study, 2)["gone.txt"]).unlink()
    return directory


def ids_of(study: optuna.Study, number: int) -> dict[str, str]:
    """Return the ids of the artifacts of a trial, by file name."""
    found = get_all_artifact_meta(study.get_trials()[number], storage=study._storage)
    return {artifact.filename: artifact.artifact_id for artifact in found}


def request(
    address: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a request; an underscore in the name of a header stands for a hyphen."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = urllib.request.Request(address, body, method=method, headers=sent)
    try:
        with urllib.request.urlopen(asked, timeout=LONGEST_SECONDS) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_it_serves_trials_notes_and_artifacts(study: Path) -> None:
    address = serve_dashboard(study, None, listen())
    detail = json.loads(request(f"{address}api/studies/0?after=0", Accept_Encoding="gzip")[2])
    trial = detail["trials"][0]
    assert [step["step"] for step in trial["intermediate_values"]] == list(range(1, 10))
    assert "Parameters" in trial["note"]["body"]
    for artifact in trial["artifacts"]:
        content = request(f"{address}artifacts/0/0/{artifact['artifact_id']}")[2]
        assert content.startswith(FILES[artifact["filename"]])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_refuses_to_change_anything(study: Path, method: str) -> None:
    status, _, answer = request(f"{serve_dashboard(study, None, listen())}api/studies/0", method)
    assert status == 405
    assert "--dashboard-writable" in json.loads(answer)["reason"]


@pytest.mark.parametrize("writable", [True, False])
def test_it_answers_to_loopback_names_only(study: Path, writable: bool) -> None:
    address = serve_dashboard(study, None, listen(), writable=writable)
    for host in ("127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]", "[::1]:9"):
        assert request(f"{address}api/studies", Host=host)[0] == 200
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.", ""):
        for method in ("GET", "HEAD", "POST", "DELETE"):
            status, _, answer = request(f"{address}api/studies/0", method, Host=host)
            assert (status, b"study" in answer) == (403, False)
    assert len(load(study).trials) == 3


def test_another_name_is_allowed_where_it_listens(study: Path) -> None:
    address = serve_dashboard(study, None, listen("127.0.0.2"))
    assert request(f"{address}api/studies")[0] == 200
    assert request(f"{address}api/studies", Host="127.0.0.3")[0] == 403
    address = serve_dashboard(study, None, listen("0.0.0.0"))
    assert address.startswith("http://127.0.0.1:")
    assert request(f"{address}api/studies")[0] == 200
    assert request(f"{address}api/studies", Host="0.0.0.0")[0] == 403


def test_only_its_own_page_may_change_anything(tmp_path: Path) -> None:
    optuna.create_study(study_name="a", storage=open_storage(tmp_path / "study.journal", None))
    address = serve_dashboard(tmp_path, None, listen(), writable=True)
    own = address.rstrip("/")
    port = own.rpartition(":")[2]
    foreign: list[dict[str, str]] = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://localhost:{port}"},  # not the name that it was called by
        {"Origin": "http://127.0.0.1:1"},
        *({"Sec_Fetch_Site": site} for site in ("cross-site", "same-site", "none")),
        {"Origin": own, "Sec_Fetch_Site": "cross-site"},
    ]
    for headers in foreign:
        assert request(f"{address}api/studies/0", "DELETE", **headers)[0] == 403
    assert len(json.loads(request(f"{address}api/studies")[2])["study_summaries"]) == 1
    note = {"body": "seen", "version": 1}
    status, _, _ = request(
        f"{address}api/studies/0/note",
        "PUT",
        json.dumps(note).encode(),
        Content_Type="application/json",
        Origin=own,
        Sec_Fetch_Site="same-origin",
    )
    assert status == 204
    assert request(f"{address}api/studies/0", "DELETE")[0] == 204  # of a program
    assert json.loads(request(f"{address}api/studies")[2])["study_summaries"] == []


def test_files_of_trials_run_no_script_and_other_sites_read_nothing(study: Path) -> None:
    address = serve_dashboard(study, None, listen())
    artifact = ids_of(load(study), 2)["evil.html"]
    status, headers, content = request(f"{address}artifacts/0/2/{artifact}")
    assert (status, content) == (200, SCRIPT)
    assert headers["Content-Security-Policy"].startswith("sandbox;")
    assert "frame-ancestors 'none'" in request(f"{address}dashboard")[1]["Content-Security-Policy"]
    for path in (f"artifacts/0/2/{artifact}", "dashboard", "api/studies", "static/bundle.js", "x"):
        headers = request(f"{address}{path}")[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


def test_a_missing_file_of_a_trial_prints_nothing(
    study: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = serve_dashboard(study, None, listen())
    artifact = ids_of(load(study), 2)["gone.txt"]
    assert request(f"{address}artifacts/0/2/{artifact}")[0] == 500
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["link", "linked folder", "pipe", "folder"])
def test_it_serves_no_file_outside_the_folder_of_a_study(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "results" / "test"
    artifacts = Artifacts(directory / "artifacts")
    trial = optuna.create_study(storage=open_storage(directory / "study.journal", None)).ask()
    artifacts.add(trial, "file.txt", b"own")
    (artifact,) = ids_of(trial.study, 0).values()
    address = serve_dashboard(directory, None, listen())
    assert request(f"{address}artifacts/0/0/{artifact}")[2] == b"own"
    file = artifacts.directory / artifact
    file.unlink()
    (tmp_path / artifact).write_text("secret")
    if kind == "link":
        file.symlink_to(tmp_path / artifact)
    elif kind == "linked folder":
        artifacts.directory.rmdir()
        artifacts.directory.symlink_to(tmp_path)
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    status, _, content = request(f"{address}artifacts/0/0/{artifact}")
    assert (status, b"secret" in content) == (500, False)


def test_a_database_shows_the_files_of_all_its_studies(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/all.db"
    ids = []
    for name in ("a", "b"):
        study = optuna.create_study(study_name=name, storage=url)
        artifacts = Artifacts(tmp_path / "results" / name / "artifacts")
        artifacts.add(study.ask(), "file.txt", name.encode())
        ids += ids_of(study, 0).values()
    address = serve_dashboard(tmp_path / "results" / "a", url, listen())
    for number, artifact in enumerate(ids):
        path = f"artifacts/{number + 1}/{number + 1}/{artifact}"
        assert request(f"{address}{path}")[2] == b"ab"[number : number + 1]


def test_without_a_results_folder_a_file_of_a_trial_is_not_found(tmp_path: Path) -> None:
    store = _Artifacts(tmp_path / "results" / "a")
    with pytest.raises(ArtifactNotFound):
        store.open_reader("7b7a2d34-45a5-4e46-8f51-5d3a42f3c2f1")


@pytest.mark.parametrize(
    ("name", "url", "message"),
    [
        ("tset", None, r"has no study 'tset'; its studies are test. .* Did you mean 'test'\?$"),
        ("cnn", "sqlite:///{}/empty.db", r"empty.db has no study 'cnn'; it holds none"),
    ],
)
def test_a_missing_study_is_one_line(
    study: Path, tmp_path: Path, name: str, url: str | None, message: str
) -> None:
    with pytest.raises(StudyError, match=message) as raised:
        require_study(name, study.parent, url and url.format(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), r"typo\.db holds no study to show; run a search first, or give --storage as for the"),
        (("--dashboard-writable",), "--dashboard-writable needs --study: all studies together"),
    ],
)
def test_a_database_without_studies_is_neither_made_nor_shown(
    tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    command = [sys.executable, str(ROOT / "run_search.py"), "--dashboard-only"]
    ran = subprocess.run(
        [*command, "--storage", "sqlite:///typo.db", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert ran.returncode == 2
    assert re.search(message, ran.stderr) is not None
    assert not (tmp_path / "typo.db").exists()


@pytest.mark.parametrize("kept_in", ["a journal", "a database of the environment"])
def test_it_is_served_without_a_search_until_it_is_stopped(
    study: Path, tmp_path: Path, kept_in: str
) -> None:
    command = [sys.executable, str(ROOT / "run_search.py"), "--dashboard-only"]
    environment = dict(os.environ)
    if kept_in == "a journal":
        command += ["--study", "test", "--results-dir", str(study.parent)]
    else:
        environment["SEARCH_STORAGE"] = url = f"sqlite:///{tmp_path}/kept.db"
        optuna.create_study(study_name="test", storage=url)
    served = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert served.stdout is not None
    line = served.stdout.readline()
    shown = re.fullmatch(r"dashboard: (http://\S+) \(read-only; Ctrl-C ends it\)\n", line)
    assert shown is not None
    assert b"test" in request(f"{shown[1]}api/studies")[2]
    assert "kept.db" not in Path(f"/proc/{served.pid}/cmdline").read_text()
    served.send_signal(signal.SIGINT)
    rest, errors = served.communicate(timeout=LONGEST_SECONDS)
    assert (served.returncode, rest, errors) == (0, "", "")


def browse(address: str, tmp_path: Path) -> str:
    """Return the document that Chromium makes of a page."""
    return subprocess.run(
        [
            str(CHROMIUM),
            *_QUIET,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            address,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


@needs_chromium
def test_a_browser_shows_a_trial_with_its_note_and_values(study: Path, tmp_path: Path) -> None:
    page = browse(
        f"{serve_dashboard(study, None, listen())}dashboard/studies/0/trials?numbers=1", tmp_path
    )
    for part in ("Trial 1", "Complete", "validation accuracy", "learning_curve.png", "layers"):
        assert part in page


@needs_chromium
def test_a_browser_runs_no_script_of_a_file(study: Path, tmp_path: Path) -> None:
    artifact = ids_of(load(study), 2)["evil.html"]
    page = browse(f"{serve_dashboard(study, None, listen())}artifacts/0/2/{artifact}", tmp_path)
    assert "before" in page
    assert "after" not in page.replace("= 'after'", "")


@needs_chromium
def test_the_buttons_that_are_hidden_are_those_of_the_page(study: Path, tmp_path: Path) -> None:
    address = serve_dashboard(study, None, listen())
    page = "".join(
        browse(f"{address}dashboard{path}", tmp_path)
        for path in ("", "/studies/0", "/studies/0/trials?numbers=2")
    )
    style = re.search(r"<style>(p\.MuiTypography.*?)</style></head>", page)
    assert style is not None
    hidden = re.findall(r'data-testid="(\w+)"', style[1])
    assert len(set(hidden)) == 6
    buttons = " ".join(re.findall(r"<button.*?</button>", page, re.DOTALL))
    for icon in hidden:
        assert f'data-testid="{icon}"' in buttons
