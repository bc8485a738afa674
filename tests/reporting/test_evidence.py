"""What the evidence derives from its rows."""

import numpy as np

from reporting.evidence import Evidence
from search.data.classes import FASHION_CLASSES


def test_predictions_are_of_the_first_seed(evidence: Evidence) -> None:
    written = evidence.predictions()
    assert written["image"].tolist() == list(range(1000))
    names = np.array(FASHION_CLASSES)
    for row in evidence.scored:
        first = row.probabilities[0]
        assert written[f"{row.name}: class"].tolist() == list(names[first.argmax(axis=1)])
        np.testing.assert_allclose(
            written[f"{row.name}: probability"], first.max(axis=1), atol=5.1e-5
        )
        assert written[f"{row.name}: seeds right"].tolist() == row.correct.sum(axis=0).tolist()
