"""What the evidence derives from its rows."""

from dataclasses import replace

import numpy as np

from reporting.evidence import Evidence, ensemble
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


def test_an_ensemble_costs_what_all_its_seeds_cost(evidence: Evidence) -> None:
    tuned = evidence.tuned
    assert tuned is not None
    runs = [
        replace(run, train_seconds=10.0 + index, cpu_seconds=20.0 + index)
        for index, run in enumerate(tuned.runs)
    ]
    made = ensemble(replace(tuned, runs=runs))
    assert (len(runs), made.kind) == (3, "variant")
    assert made.train_seconds == 10 + 11 + 12
    assert made.train_cpu_seconds == 20 + 21 + 22
