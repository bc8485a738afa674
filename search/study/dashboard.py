"""The live view: optuna-dashboard, served by a search or alone, behind a guard."""

import io
import json
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit
from wsgiref.headers import Headers
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from optuna_dashboard import wsgi

from search.errors import SettingsError
from search.study.storage import JOURNAL, open_storage

_DEFAULT_PORT: Final = 8080
_DEFAULT_HOST: Final = "127.0.0.1"
_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_EVERY_ADDRESS: Final = "0.0.0.0"
# Added to the policy of the dashboard's own page. Every other response may be a file of a trial.
_PAGE_POLICY: Final = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_FILE_POLICY: Final = (
    "sandbox; default-src 'self' data: 'unsafe-inline'; script-src 'none'; frame-ancestors 'self'"
)
_ALWAYS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
# Icons of the buttons that change a study; a rule without such a button does no harm.
_WRITING_ICONS: Final = (
    *("AddBox", "Delete", "DriveFileRenameOutline", "Edit", "StopCircle", "UploadFile"),
)
_READ_ONLY: Final = "This dashboard is read-only; --dashboard-writable lets it change studies."
_WRAP: Final = "p.MuiTypography-body1 { white-space: normal; overflow-wrap: anywhere; }"
_HIDE: Final = (
    "button:has(" + ", ".join(f'[data-testid="{icon}Icon"]' for icon in _WRITING_ICONS) + "), "
    '.MuiCard-root:has(> button [data-testid="UploadFileIcon"]) { display: none !important; }'
)
_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def serve_dashboard(
    directory: Path,
    url: str | None,
    server: "Server",
    *,
    writable: bool = False,
    storage: BaseStorage | None = None,
) -> str:
    """Serve the dashboard from a thread of this process, until it ends.

    Args:
        directory: Folder of the study, in the folder of all studies.
        url: Database; None: the journal of the study.
        server: From `listen`.
        writable: Whether it may change and delete studies; it has no authentication.
        storage: What to show; None: the storage of the study.

    Returns:
        The address.

    Raises:
        StorageError: The storage cannot be opened.
    """
    # It logs a traceback for each of the page's requests while a database is away.
    logging.getLogger("optuna_dashboard").setLevel(logging.CRITICAL)
    # Another storage object: its locks must not delay the search.
    storage = storage or open_storage(directory / JOURNAL, url)
    application = wsgi(storage, artifact_store=_Artifacts(directory))
    names = _LOOPBACK_NAMES | ({server.host.lower()} - {_EVERY_ADDRESS})
    server.set_app(_Guard(application, names, writable=writable))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shown = _DEFAULT_HOST if server.host == _EVERY_ADDRESS else server.host
    return f"http://{shown}:{server.server_port}/"


class _Guard:
    """A WSGI application in front of the dashboard, against web pages in the same browser.

    It answers only to known host names: the name of a hostile page may resolve to this machine (DNS
    rebinding), which makes it the same origin. Only the dashboard's own page may change
    anything, and files of trials run no scripts.

    Args:
        application: The dashboard.
        names: Allowed names in the `Host` header, in lower case, without port.
        writable: Whether requests may change anything.
    """

    def __init__(self, application: _Application, names: frozenset[str], *, writable: bool) -> None:
        self._application = application
        self._names = names
        self._writable = writable
        self._style = f"<style>{_WRAP}{'' if writable else _HIDE}</style></head>".encode()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if refusal := self._refusal(environ):
            status, reason = refusal
            start_response(
                status,
                [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")],
            )
            return [json.dumps({"reason": reason}).encode()]
        for name in ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE"):
            environ.pop(name, None)  # the page in the browser's cache may have other buttons
        environ["wsgi.errors"] = io.StringIO()  # a deleted artifact is a traceback there
        answer: list[Any] = []

        def keep(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            answer[:] = status, headers, exc_info

        body = self._application(environ, keep)
        status, given, exc_info = answer
        headers = Headers([*given, *_ALWAYS])
        del headers["Access-Control-Allow-Origin"]  # `*`, of artifacts
        policy = headers["Content-Security-Policy"]
        headers["Content-Security-Policy"] = f"{policy}; {_PAGE_POLICY}" if policy else _FILE_POLICY
        if policy and environ["REQUEST_METHOD"] == "GET":
            page = _read(body).replace(b"</head>", self._style)
            headers["Content-Length"] = str(len(page))
            headers["Cache-Control"] = "no-store"
            body = [page]
        start_response(status, headers.items(), exc_info)
        return body

    def _refusal(self, environ: dict[str, Any]) -> tuple[str, str] | None:
        host = environ.get("HTTP_HOST", "").lower()
        if re.sub(r":\d+$", "", host) not in self._names:
            return "403 Forbidden", (
                f"This dashboard answers to the names {', '.join(sorted(self._names))} only; "
                "--dashboard-host adds one."
            )
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return None
        if not self._writable:
            return "405 Method Not Allowed", _READ_ONLY
        origin = environ.get("HTTP_ORIGIN")
        from_page = environ.get("HTTP_SEC_FETCH_SITE", "same-origin") == "same-origin"
        if not from_page or (origin is not None and urlsplit(origin).netloc.lower() != host):
            return "403 Forbidden", "Only the dashboard's own page may change anything."
        return None


def _read(body: Iterable[bytes]) -> bytes:
    try:
        return b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


class _Artifacts(FileSystemArtifactStore):
    """Artifacts of a study, with read access to those of the studies beside it.

    Links are not followed: a results folder may come from somebody else.

    Args:
        directory: Folder of the study.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "artifacts")
        self._directory = directory

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact.

        Raises:
            ArtifactNotFound: There is no such file.
        """
        folders = [self._directory]
        with suppress(OSError):  # a database may be shown without a results folder
            folders += self._directory.parent.iterdir()
        for folder in (folder / "artifacts" for folder in folders):
            # A pipe would keep the thread waiting.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            try:
                descriptor = os.open(folder / artifact_id, flags)
            except OSError:
                continue
            file = os.fdopen(descriptor, "rb")
            if stat.S_ISREG(os.fstat(descriptor).st_mode) and not folder.is_symlink():
                return file
            file.close()
        raise ArtifactNotFound(artifact_id)


class Server(ThreadingMixIn, WSGIServer):
    """The server of a dashboard; it takes its address at once, and answers when it is served.

    Args:
        host: Address or name to listen on; requests may call the dashboard by it.
        port: Port; 0: any free one.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), _QuietHandler)
        self.host = host


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: requests would interrupt the progress display."""


def listen(host: str | None = None, port: int | None = None) -> Server:
    """Take the address of a dashboard; `serve_dashboard` makes it answer.

    Args:
        host: Address or name to listen on; None: 127.0.0.1.
        port: Port; None: 8080, or any free one if that is taken.

    Raises:
        SettingsError: The host or the port cannot be used.
    """
    host = host or _DEFAULT_HOST
    ports = [_DEFAULT_PORT, 0] if port is None else [port]
    for candidate in ports:
        try:
            server = Server(host, candidate)
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        else:
            return server
    if host != _DEFAULT_HOST:
        raise SettingsError(
            f"--dashboard-host {host} cannot be used with port {ports[-1] or 'any'} ({reason}); "
            "give an IPv4 address or name of this machine, or 0.0.0.0 for all of its addresses."
        )
    raise SettingsError(
        f"--dashboard-port {port} cannot be used ({reason}); choose another port, or leave the "
        "flag out for any free one."
    )
