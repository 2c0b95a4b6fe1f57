"""Expected largest of random numbers against draws and known values."""

import numpy as np
import pytest

from dse.cost.normal_maxima import expected_maximum, largest_of_normals


def test_largest_of_few_normals_is_as_known():
    mean, deviation = largest_of_normals(100)
    # Closed forms of two and three, tables of ten and a hundred (Harter, Biometrika 1961).
    assert mean[[1, 2, 3]] == pytest.approx([0, np.pi**-0.5, 1.5 * np.pi**-0.5], abs=1e-5)
    assert mean[[10, 100]] == pytest.approx([1.53875, 2.50759], abs=1e-5)
    assert deviation[[0, 1, 2]] == pytest.approx([0, 1, (1 - 1 / np.pi) ** 0.5], abs=1e-5)
    assert deviation[10] == pytest.approx(0.5868, abs=1e-4)


@pytest.mark.parametrize("second", [2.0, 8.0, 9.5, 10.0])
@pytest.mark.parametrize("deviations", [(0.5, 0.5), (2.0, 0.1), (0.3, 1.5)])
def test_larger_of_two_normals_agrees_with_draws(second, deviations):
    rng = np.random.default_rng(0)
    draws = rng.normal((10.0, second), deviations, (200_000, 2)).max(axis=1).mean()
    found = expected_maximum(
        np.array([10.0]), np.array([second]), np.hypot(*deviations)[None], np.zeros(1)
    )
    assert found[0] == pytest.approx(draws, rel=5e-3)
