"""Secrets in URLs stay out of everything that is printed or stored."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from search.errors import SearchError
from search.run import _settings_noted
from search.secrets import hide_secrets, masked_url
from search.settings import SearchSettings
from search.study.provenance import command_line
from search.study.storage import open_storage


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://me:secret@[::1]:5432/db", "postgresql://me:***@[::1]:5432/db"),
        ("postgresql://me:secret@one:1,two:2/db", "postgresql://me:***@one:1,two:2/db"),
        ("postgresql://:secret@/db", "postgresql://:***@/db"),
        ("postgresql:///db?user=me&password=secret", "postgresql:///db?user=me&***"),
        ("postgresql://host/db?sslmode=require", "postgresql://host/db?sslmode=require"),
        ("postgresql://host/db?sslkey=secret&sslmode=require&token=secret",
         "postgresql://host/db?sslmode=require&***"),
        ("postgresql://host/db?password=a&secret=b&c", "postgresql://host/db?***"),
        ("postgresql://host/db?p%61ssword=secret", "postgresql://host/db?***"),
        ("postgresql://host/db?sslmode=secret secret", "postgresql://host/db?***"),
        ("postgresql://host/db;password=secret", "postgresql://***"),
        ("mysql+pymysql://host/db?passwd=secret", "mysql+pymysql://host/db?***"),
        ("postgresql://me:a@secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:s/e@secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me/secret:secret@host/db", "postgresql://***@host/db"),
        ("postgresql://me:sec?ret@host/db", "postgresql://***"),
        ("postgresql://me:secret", "postgresql://***"),
        ("postgresql://me:secret host/db", "postgresql://***"),
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("sqlite:////home/me@work/lr=0.1/a b.db?timeout=5",) * 2,
        ("sqlite:///study.db?key=secret", "sqlite:///study.db?***"),
        ("sqlite+pysqlcipher://:secret@/study.db", "sqlite+pysqlcipher://:***@/study.db"),
        ("no url: secret", "the given URL"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert masked_url(url) == shown
    assert masked_url(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no URL: a:b@c", "no URL: a:b@c"),
        ("see http://127.0.0.1:8080/ (read-only).", "see http://127.0.0.1:8080/ (read-only)."),
        ("write postgresql://user@host/database or sqlite:///file.db.",) * 2,
        ("invalid int value: 'postgresql://me:my secret@host/db'",
         "invalid int value: 'postgresql://me:***@host/db'"),
        ("invalid int value: " + repr("postgresql://me:a'\"secret@host/db"),
         "invalid int value: 'postgresql://me:***@host/db'"),
        ("--storage postgresql://me:secret@host/db, postgresql:///db?key=secret.",
         "--storage postgresql://me:***@host/db, postgresql:///db?***."),
    ],
)  # fmt: skip
def test_urls_in_a_text_are_shown_without_their_secrets(text: str, shown: str) -> None:
    assert hide_secrets(text) == shown
    assert hide_secrets(shown) == shown


SECRET = "h7Qz"
_SEPARATORS = ["", "%40", *"@:/?&=# ;,[]'", "\\", '"']


def _url_with_secret(draw: random.Random) -> str:
    """A URL, well formed or mistyped, in which every place of a secret holds one."""

    def secret() -> str:
        return draw.choice(_SEPARATORS).join([SECRET] * draw.randint(1, 3))

    scheme = draw.choice(["postgresql", "postgresql+psycopg", "mysql+pymysql", "https", "odd"])
    user = draw.choice(["me", "", "me%40work", "a.b-c"])
    host = draw.choice(["host", "", "[::1]", "host:5432", "a:1,b:2"])
    database = draw.choice(["", "/", "/db", "/db/more"])
    login = draw.choice([f"{user}:{secret()}@", f"{user}:{secret()}@", ""])
    names = ["password", "passwd", "sslpassword", "sslkey", "token", "key", "SSLMODE", "a b", "x"]
    options = [
        f"{draw.choice(names)}={secret()}" for _ in range(draw.randint(0 if login else 1, 3))
    ]
    options += draw.sample(["sslmode=require", "connect_timeout=3", "charset=utf8"], 2)
    draw.shuffle(options)
    return f"{scheme}://{login}{host}{database}?{'&'.join(options)}"


def _error_of_opening(url: str) -> str:
    url = re.sub(r"host|\[::1\]|[ab]:[12]", "127.0.0.1:1", url)  # where no server listens
    try:
        open_storage(Path("unused"), url)
    except SearchError as error:
        return str(error)
    raise AssertionError(url)


@pytest.mark.parametrize(
    ("write", "times"),
    [
        (masked_url, 3_000),
        (lambda url: hide_secrets(f"unknown: {url!r}; see --help"), 3_000),
        (lambda url: command_line(["run_search.py", "--storage", url]), 300),
        (lambda url: command_line(["run_search.py", f"--storage={url}", "--quiet"]), 300),
        (lambda url: command_line(["run_search.py", "--storag", url]), 300),
        (lambda url: hide_secrets(_error_of_opening(url)), 100),
    ],
    ids=["url", "text", "two words", "one word", "mistyped", "error"],
)  # fmt: skip
def test_no_secret_is_shown_whatever_the_url(write: Callable[[str], str], times: int) -> None:
    draw = random.Random(0)
    for _ in range(times):
        url = _url_with_secret(draw)
        shown = write(url)
        assert SECRET not in shown, (url, shown)
        assert hide_secrets(shown) == shown or "'" in shown


def test_a_study_stores_no_secret_of_a_cluster() -> None:
    noted = _settings_noted(SearchSettings(cluster="ray://me:s3cret@head:10001"))
    assert noted["cluster"] == "ray://me:***@head:10001"
