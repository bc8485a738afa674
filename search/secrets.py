"""Hide the secrets of URLs in everything that is printed or stored."""

import re
from typing import Final

# Everything else in the query of a URL is hidden, whatever its name.
_HARMLESS_OPTIONS: Final = frozenset(
    (
        *("application_name", "channel_binding", "charset", "client_encoding", "collation"),
        *("connect_timeout", "dbname", "gssencmode", "host", "hostaddr", "port", "user"),
        *("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval"),
        *("read_timeout", "tcp_user_timeout", "timeout", "unix_socket", "write_timeout"),
        *("ssl_ca", "ssl_cert", "ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"),
        *("sslcert", "sslmode", "sslrootcert", "target_session_attrs"),
        *("cache", "check_same_thread", "isolation_level", "mode", "uri"),
    )
)
_HARMLESS_VALUE: Final = r"[\w.,:/%+\[\]-]*"
_USER: Final = r"[\w.%+-]*"
_PORT: Final = r"(?::\d*)?"
_HOST: Final = rf"(?:\[[\w:.%]*\]|[^\s:/?#\[\]]*){_PORT}"
# Hosts and a database; nothing that could be an option behind another separator than `?`.
_ADDRESS: Final = rf"{_HOST}(?:,{_HOST})*(?:/[^;=&]*)?"
_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+.-]*"
_URL: Final = re.compile(rf"({_SCHEME})://(.*)", re.DOTALL)
# In quotes, as `repr` writes it, a URL may hold spaces.
_URL_IN_TEXT: Final = re.compile(
    rf"""(?P<quote>['"])(?P<quoted>{_SCHEME}://(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)"""
    rf"|(?P<bare>{_SCHEME}://\S*)",
    re.DOTALL,
)


def masked_url(url: str) -> str:
    """Return a URL that is safe to print and store: `***` replaces everything that may be secret.

    Unrecognized parts are hidden too: a password may contain any character, a user may have
    mistyped the URL, and drivers have many options.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return "the given URL"
    scheme, rest = match.groups()
    before, has_query, query = rest.partition("?")
    if scheme == "sqlite" and before.startswith("/"):
        address = before  # a path, which may contain an @
    elif "@" in query:
        return f"{scheme}://***"  # of the login or of an option
    else:
        login, at, address = before.rpartition("@")
        address = address if re.fullmatch(_ADDRESS, address) else "***"
        address = f"{_masked_login(login)}{at}{address}"
    return f"{scheme}://{address}{has_query}{_masked_query(query)}"


def hide_secrets(text: str) -> str:
    """Return a text with every URL in it masked as by `masked_url`."""

    def mask(match: re.Match[str]) -> str:
        if match["quoted"] is not None:
            return f"{match['quote']}{masked_url(match['quoted'])}{match['quote']}"
        url = match["bare"].rstrip(".,;:!?)'\"")
        return masked_url(url) + match["bare"][len(url) :]

    return _URL_IN_TEXT.sub(mask, text)


def _masked_login(login: str) -> str:
    user, has_password, _ = login.partition(":")
    if not re.fullmatch(_USER, user):
        return "***"
    return f"{user}:***" if has_password else user


def _masked_query(query: str) -> str:
    options = query.split("&") if query else []
    shown = [option for option in options if _is_harmless(option)]
    # One mask for all hidden options: a secret with an & in it looks like several options.
    return "&".join(shown if len(shown) == len(options) else [*shown, "***"])


def _is_harmless(option: str) -> bool:
    name, equals, value = option.partition("=")
    return (
        bool(equals)
        and name in _HARMLESS_OPTIONS
        and re.fullmatch(_HARMLESS_VALUE, value) is not None
    )
