"""The cells into which values of a hyperparameter fall."""

import pandas as pd
import pytest

from reporting.dimensions import Dimension, short


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        (Dimension(name="layers", low=1, high=3, whole=True), [1, 2, 3], [0, 5, None]),
        (Dimension(name="width", low=1, high=100, whole=True), [1, 50, 100], [0, 101, None]),
        (Dimension(name="rate", low=1e-4, high=0.1, log=True), [1e-4, 0.01, 0.1], [1e-5, 0.2]),
        (Dimension(name="kind", choices=("a", "b")), ["a", "b"], ["c", None]),
    ],
)
def test_values_outside_of_the_range_have_no_cell(dimension, inside, outside) -> None:
    cells, labels = dimension.cells(pd.Series(inside, dtype=object))
    assert cells.between(0, len(labels) - 1).all()
    assert cells.is_monotonic_increasing
    assert dimension.cells(pd.Series(outside, dtype=object))[0].isna().all()


def test_a_value_between_two_cells_is_in_the_upper_one() -> None:
    rate = Dimension(name="rate", low=1e-4, high=0.1, log=True)
    cells, labels = rate.cells(pd.Series([1e-4, 1e-3, 1e-2, 0.1]))
    assert cells.tolist() == [0, 2, 4, 5]
    assert [labels[index] for index in (2, 4)] == ["0.001 to\n0.00316", "0.01 to\n0.0316"]


def test_whole_numbers_of_a_column_with_gaps_are_shown_whole() -> None:
    assert [short(value) for value in (1536.0, 64.0, 0.00123456, 1e7)] == [
        "1536",
        "64",
        "0.00123",
        "1e+07",
    ]
