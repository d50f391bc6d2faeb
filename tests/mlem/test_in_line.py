"""Where orientations lie between two positions of a scan of one unknown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lib.mlem.in_line import InLine
from lib.physics.scan_types import scan_types
from lib.physics.tilts import BLUR_STEPS, Resolution

STEP = 0.004
POSITIONS = STEP * (np.arange(9) - 4.0)


def line(width: float) -> InLine:
    """A scan of strain whose resolution was found so wide, in steps."""
    kind = scan_types("strain", "lab")[0]
    axes = (POSITIONS, np.zeros(1))
    scan: Any = SimpleNamespace(
        scan_type=kind,
        usual_step_deg=STEP,
        relative_axes_deg=lambda: axes,
        response=lambda scanned, grid, what, k: kind.response("horizontal", scanned, grid, what, 0.0),
    )
    return InLine(scan, Resolution(width * STEP, np.inf), kind.grid(axes, 2))


@pytest.mark.parametrize("found", [0.9, 1.05])
@pytest.mark.parametrize("true", [0.75, 0.9, 1.3])
def test_a_centre_of_light_is_taken_to_where_it_comes_from(true, found):
    """Whatever width was found: the maps, unfolded with it, are as wide as the light has it."""
    places = STEP * np.linspace(-2.0, 2.0, 33)
    sees = np.exp(-4.0 * np.log(2.0) * ((POSITIONS[:, None] - places) / (true * STEP)) ** 2)
    centres = POSITIONS @ sees / sees.sum(axis=0)
    sharp = Resolution(found, np.inf).sharpened(BLUR_STEPS).rocking
    variance = (true**2 - sharp**2) / (8.0 * np.log(2.0)) + 0.5**2 / 6.0
    np.testing.assert_allclose(line(found).placed(centres, STEP**2 * variance), places, atol=2e-3 * STEP)
    pulled = np.abs(centres - places).max() / STEP
    assert pulled == pytest.approx({0.75: 0.16, 0.9: 0.10, 1.3: 0.01}[true], abs=0.015)


def test_light_of_orientations_amid_two_positions():
    """At half a step a narrow resolution sees little; the centre of what it sees is there."""
    bright, at = line(0.9).light()
    width = (0.9**2 - BLUR_STEPS**2) ** 0.5
    assert bright[9] / bright[8] == pytest.approx(2.0 * np.exp(-np.log(2.0) / width**2), rel=0.01)
    np.testing.assert_allclose(at[1:-1], np.arange(1, 16), atol=0.01)
