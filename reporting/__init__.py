"""After the search: retrain, measure once on the test part, compare, and write it all down."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from reporting.api import compare_studies, run_report
    from reporting.comparison.page import Comparison
    from reporting.run import Outcome
    from reporting.settings import ReportSettings

__all__ = ["Comparison", "Outcome", "ReportSettings", "compare_studies", "run_report"]

_MODULES: Final = {
    "Comparison": "reporting.comparison.page",
    "Outcome": "reporting.run",
    "ReportSettings": "reporting.settings",
    "compare_studies": "reporting.api",
    "run_report": "reporting.api",
}


def __getattr__(name: str) -> Any:
    # Import lazily: `--help` and the chapters need single modules of this package, not all.
    if name not in _MODULES:
        raise AttributeError(f"module 'reporting' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
