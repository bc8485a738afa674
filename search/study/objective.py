"""What a search maximizes."""

from collections.abc import Mapping
from typing import Any, Final

OBJECTIVES: Final = {
    "accuracy": "share of the validation images that are right",
    "balanced_accuracy": "mean of that share over the classes, for classes that differ in size",
}


def objective_of(facts: Mapping[str, Any]) -> str:
    """Return the objective of a study; earlier versions stored none."""
    return str(facts.get("objective", "accuracy"))


def objective_words(objective: str) -> str:
    """Return an objective in words: `validation accuracy`."""
    return f"validation {objective.replace('_', ' ')}"
