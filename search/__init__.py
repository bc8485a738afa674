"""Run a search: an engine proposes, workers train, the coordinator decides and records."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from search.api import load_study, run_search
    from search.errors import SearchError
    from search.outcome import Outcome
    from search.settings import SearchSettings

__all__ = ["Outcome", "SearchError", "SearchSettings", "load_study", "run_search"]

_MODULES: Final = {
    "Outcome": "search.outcome",
    "SearchError": "search.errors",
    "SearchSettings": "search.settings",
    "load_study": "search.api",
    "run_search": "search.api",
}


def __getattr__(name: str) -> Any:
    # Import lazily: workers and `--help` need single modules of this package, not all of them.
    if name not in _MODULES:
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
