"""What every row says of every test image, as one table."""

from pathlib import Path

import numpy as np
import pandas as pd

from reporting.evidence import Evidence
from search.data.classes import CLASS_NAMES


def write_predictions(evidence: Evidence, file: Path) -> None:
    """Write one line for each test image, in the order of the test file.

    Columns: `image` (0-based index), `label`, and for each row what the model of its first seed
    says, for `tuned` that of `best_model.keras`: the class (`NAME: class`) and its probability
    (`NAME: probability`); then how many of its seeds have the image right (`NAME: seeds right`).
    An ensemble has one answer in place of the seeds'.

    Args:
        evidence: With test results.
        file: A CSV file.
    """
    names = np.array(CLASS_NAMES)
    test = evidence.test
    assert test is not None
    columns: dict[str, object] = {"image": np.arange(len(test.labels)), "label": names[test.labels]}
    for row in evidence.scored:
        first = row.probabilities[0]
        columns[f"{row.name}: class"] = names[first.argmax(axis=1)]
        columns[f"{row.name}: probability"] = first.max(axis=1).round(4)
        columns[f"{row.name}: seeds right"] = row.correct.sum(axis=0)
    pd.DataFrame(columns).to_csv(file, index=False)
