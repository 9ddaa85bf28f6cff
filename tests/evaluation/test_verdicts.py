"""Verdicts on differences of known values."""

import pytest

from mnist_gen.evaluation.verdicts import FAILS, HOLDS, NOISE, paired_difference, span, unpaired_difference


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        ([0.72, 0.73, 0.71], [0.62, 0.63, 0.60], HOLDS),
        ([0.62, 0.63, 0.60], [0.72, 0.73, 0.71], FAILS),
        ([0.72, 0.60, 0.71], [0.62, 0.71, 0.70], NOISE),
        ([0.72, 0.76], [0.62, 0.63], NOISE),  # seven standard errors are not enough with two pairs
        ([0.9], [0.1], NOISE),  # one draw proves nothing
    ],
)
def test_a_difference_counts_outside_its_confidence_interval(left, right, verdict):
    assert paired_difference(left, right)[0] == verdict


def test_a_difference_gives_its_evidence():
    evidence = paired_difference([0.5, 0.6, 0.7], [0.4, 0.4, 0.8])[1]
    assert evidence == "+6.7 ± 8.8 points, 2 of 3 draws"
    assert paired_difference([0.5, 0.6], [0.5, 0.5])[1] == "+5.0 ± 5.0 points, 1 of 2 draws (1 equal)"
    assert paired_difference([0.5, 0.5], [0.4999, 0.5])[1] == "+0.0050 ± 0.0050 points, 1 of 2 draws (1 equal)"
    assert paired_difference([0.5, 0.5], [0.5, 0.5])[1] == "+0.0 ± 0.0 points, 0 of 2 draws (2 equal)"


def test_a_span_of_equal_texts_is_one():
    assert span([1.04, 1.12], ".1f") == "1.0 to 1.1"
    assert span([1.14, 1.06], ".1f") == "1.1"


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [([1.0, 1.0, 0.9], [0.1, 0.2], HOLDS), ([0.1, 0.2], [1.0, 1.0, 0.9], FAILS), ([1, 0, 1], [0, 1], NOISE)],
)
def test_values_without_pairs(left, right, verdict):
    assert unpaired_difference(left, right)[0] == verdict


def test_values_without_pairs_that_never_change():
    assert unpaired_difference([1.0, 1.0], [0.5, 0.5, 0.5]) == (HOLDS, "+50.0 ± 0.0 points")
