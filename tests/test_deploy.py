"""The files in deploy/ parse, agree with the programs and with each other, and hold no secret."""

import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

import run_search

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.iterdir() if not path.name.endswith(".env"))


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


def compose() -> dict[str, Any]:
    [document] = yaml.safe_load_all(text("compose.yaml"))
    return dict(document)


def kuberay() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(text("kuberay.yaml"))}


def searches() -> dict[str, list[str]]:
    """By file, the words of each command that it starts a search with."""
    joined = text("slurm.sh").replace("\\\n", " ")
    return {
        "compose.yaml": shlex.split(compose()["services"]["search"]["entrypoint"]),
        "kuberay.yaml": shlex.split(kuberay()["RayJob"]["spec"]["entrypoint"]),
        "slurm.sh": joined[joined.index("python run_search.py") :].split(),
        "README.md": re.findall(r"(?:--rm search|slurm\.sh)(.*)", text("README.md")),
    }


@pytest.mark.parametrize("file", ["compose.yaml", "kuberay.yaml", "slurm.sh", "README.md"])
def test_searches_are_started_with_flags_that_there_are(file: str) -> None:
    known = {name for action in run_search.make_parser()._actions for name in action.option_strings}
    used = set(re.findall(r"(?<!\S)--[a-z-]+", " ".join(searches()[file])))
    assert used
    assert used <= known


def test_the_image_is_made_of_files_that_docker_is_given() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] != "#"]
    assert ignored[0] == "*"
    given = [line[1:] for line in ignored if line[0] == "!"]
    copied = " ".join(re.findall(r"^COPY (.+) \S+$", text("Dockerfile"), re.MULTILINE)).split()
    for name in {*copied, *re.findall(r"-r (\S+)", text("Dockerfile"))} - {"."}:
        assert (ROOT / name).is_file()
        assert any(fnmatch(name, pattern) for pattern in given)
    for pattern in given:
        assert list(ROOT.glob(pattern)), pattern
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages <= set(given)


def test_compose_names_what_there_is() -> None:
    described = compose()
    build = described["x-program"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    for service in described["services"].values():
        assert set(service.get("depends_on", {})) <= set(described["services"])
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in described["volumes"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_every_service_is_locked_down() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert "/tmp" in service["tmpfs"], name


def test_services_write_to_their_results_or_database_only() -> None:
    mounted = {name: service.get("volumes", []) for name, service in compose()["services"].items()}
    assert mounted == {
        "database": ["database:/var/lib/postgresql/data"],
        "dashboard": ["results:/results:ro"],
        "head": [],
        "node": [],
        "search": ["results:/results"],
    }


def pods() -> list[dict[str, Any]]:
    cluster = kuberay()["RayJob"]["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("pod", pods(), ids=["head", "node"])
def test_every_pod_is_locked_down(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["resources"]["limits"]["memory"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {*mounts.values()} <= {"/tmp", "/results"}
    assert {*mounts} == {volume["name"] for volume in pod["volumes"]}


def test_the_image_runs_as_a_user_who_owns_the_results_folder_only() -> None:
    lines = text("Dockerfile").replace("\\\n", " ").splitlines()
    [user] = [line for line in lines if line.startswith("USER ")]
    assert re.fullmatch(r"USER [1-9]\d*", user)
    [owned] = re.findall(r"install -d -o search -g search ([^&\n]+)$", "\n".join(lines), re.M)
    assert owned == "/results"
    assert not any("chown" in line for line in lines)
    [settings] = [line.split() for line in lines if line.startswith("ENV ")]
    folders = dict(word.split("=") for word in settings[1:] if "=/" in word)
    assert {*folders} == {"HOME", "KERAS_HOME"}
    for folder in folders.values():
        assert re.match(r"(/tmp|/results)\b", folder)


def test_images_can_be_pinned_by_digest() -> None:
    assert "ARG PYTHON=python:3.12-slim\nFROM $PYTHON\n" in text("Dockerfile")
    assert compose()["services"]["database"]["image"] == "${POSTGRES_IMAGE:-postgres:17}"
    for name in ("python:3.12-slim", "postgres:17"):
        assert f"{name}@sha256:" in text("README.md")


def test_kubernetes_runs_the_ray_that_the_image_has() -> None:
    version = kuberay()["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"]
    asked = re.search(r"^ray\S*~=(\S+)", (ROOT / "requirements-distributed.txt").read_text(), re.M)
    assert asked is not None
    assert version.split(".")[:2] == asked[1].split(".")[:2]


def test_the_slurm_script_is_bash() -> None:
    subprocess.run(["bash", "-n", DEPLOY / "slurm.sh"], check=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_secret_is_written_down(file: Path) -> None:
    content = file.read_text()
    assert not re.search(r"://[^/\s:]*:[^/\s]*@", content)
    for value in re.findall(r"\w*(?:PASSWORD|TOKEN)\w*[:=] *([^\s'\"]*)", content):
        assert value[:1] in {"", "$", "%"}, value


def test_secrets_stay_out_of_git_and_the_image() -> None:
    assert "deploy/*.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "!deploy" not in (ROOT / ".dockerignore").read_text()
