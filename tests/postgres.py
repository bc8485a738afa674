"""A PostgreSQL server of the tests' own: on loopback, with a password, stopped as a crash would."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from sqlalchemy import create_engine, text

from tests import LONGEST_SECONDS, free_port

PASSWORD = "top-secret"
_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
BIN = _PROGRAMS[-1].parent if _PROGRAMS else None


class Postgres:
    """A server with its data in a folder of its own, gone when it is left."""

    def __init__(self) -> None:
        assert BIN is not None
        self._bin = BIN
        self._databases: set[str] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        (self._folder / "password").write_text(PASSWORD)
        self.port = free_port()
        # It refuses to run as root; whoever installs it makes this user.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user is not None:
            for path in (self._folder, self._folder / "password"):
                shutil.chown(path, self._user, self._user)
        flags = ("--username=searcher", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8")
        self._run("initdb", *flags, f"--pwfile={self._folder / 'password'}", "--no-locale")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it; its data are as it has left them."""
        options = f"-p {self.port} -h 127.0.0.1 -k '' -c fsync=off -c full_page_writes=off"
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "--wait", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        """End it as a crash does: what is on its way is cut off."""
        self._run("pg_ctl", "stop", "--mode=immediate", "--wait")

    def database(self, what: object) -> str:
        """The URL of the database for something; made when it is first asked for."""
        name = f"test_{hashlib.sha256(str(what).encode()).hexdigest()[:12]}"
        if name not in self._databases:
            engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            engine.dispose()
            self._databases.add(name)
        return self.url(name)

    def url(self, database: str, password: str = PASSWORD) -> str:
        """The URL of a database that may be there or not."""
        return f"postgresql://searcher:{password}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *flags: str) -> None:
        command = [str(self._bin / program), f"--pgdata={self._folder / 'data'}", *flags]
        ended = subprocess.run(
            command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            # The server inherits these, and would keep a pipe open.
            stdout=(self._folder / "said").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            timeout=LONGEST_SECONDS,
        )
        assert ended.returncode == 0, (self._folder / "said").read_text()
