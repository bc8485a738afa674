"""Evidence that the tests of a report share."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from reporting.evidence import Evidence
from reporting.study_tables import read_study
from search.study.storage import open_storage
from tests.reporting.made_evidence import FACTS, made_evidence


@pytest.fixture(scope="package")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="package")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("untrained"), trials=1, retrained=False)


@pytest.fixture(scope="package")
def single(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """One complete trial, one seed each, and gaps."""
    gaps = ("bn-cnn", "mlp")
    return made_evidence(
        tmp_path_factory.mktemp("single"), trials=1, seeds=1, candidate_seeds=1, top=1, gaps=gaps
    )


@pytest.fixture(scope="package")
def gapped(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return made_evidence(tmp_path_factory.mktemp("gapped"), gaps=("vgg-cnn",), seeds=1)


@pytest.fixture
def searched(evidence: Evidence, tmp_path: Path) -> Any:
    """Evidence on a study that consists of the given trials."""

    def make(made: Sequence[FrozenTrial], **facts: Any) -> Evidence:
        (tmp_path / "own").mkdir()
        storage = open_storage((tmp_path / "own" / "study.journal").resolve(), None)
        study = optuna.create_study(study_name="own", storage=storage, direction="maximize")
        for key, value in (FACTS | {"space": "my_module:MySpace"} | facts).items():
            study.set_user_attr(key, value)
        study.add_trials(made)
        return dataclasses.replace(
            evidence,
            record=read_study(tmp_path, "own", None),
            remeasured=[],
            winner=None,
            rows=[],
            differences={},
            test=None,
        )

    return make
