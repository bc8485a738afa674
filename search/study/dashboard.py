"""optuna-dashboard: served by the search itself, or by its own command."""

import os
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from search.errors import SettingsError
from search.secrets import masked_url
from search.study.storage import open_storage

DEFAULT_PORT = 8080
HOST = "127.0.0.1"
_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: requests would interrupt the progress display."""


def dashboard_command(journal: Path, url: str | None, artifacts: Path) -> str:
    """Return the command that serves the dashboard of a study in another process."""
    beside = Path(sys.executable).with_name("optuna-dashboard")
    program = str(beside) if beside.exists() else shutil.which("optuna-dashboard")
    storage = _short(journal) if url is None else masked_url(url)
    parts = [
        _short(Path(program)) if program else "optuna-dashboard",
        storage,
        "--artifact-dir",
        _short(artifacts),
    ]
    return shlex.join(parts)


def serve_dashboard(
    journal: Path, url: str | None, artifacts: Path, *, port: int | None, writable: bool
) -> str:
    """Serve the dashboard from a thread of this process until it ends.

    Args:
        journal: Absolute path of the journal file.
        url: Database; None for the journal.
        artifacts: Folder of the artifacts.
        port: None for 8080, or any free one if that is taken.
        writable: Allow changes and deletions; the dashboard has no authentication.

    Returns:
        Address of the dashboard.

    Raises:
        SettingsError: The given port cannot be used.
    """
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    # Another storage object: its locks must not delay the search.
    application: Any = wsgi(
        open_storage(journal, url), artifact_store=FileSystemArtifactStore(str(artifacts))
    )
    if not writable:
        application = _read_only(application)
    server = _bind(application, port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{HOST}:{server.server_port}/"


def _bind(application: Any, port: int | None) -> WSGIServer:
    ports = [DEFAULT_PORT, 0] if port is None else [port]
    for candidate in ports:
        try:
            return make_server(
                HOST, candidate, application, server_class=_Server, handler_class=_QuietHandler
            )
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
    raise SettingsError(
        f"--dashboard-port {port} cannot be used ({reason}); choose another port, or leave the "
        "flag out for any free one."
    )


def _read_only(application: _Application) -> _Application:
    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        start_response("405 Method Not Allowed", [("Content-Type", "application/json")])
        return [b'{"reason": "This dashboard is read-only; see --dashboard-writable."}']

    return guarded


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
