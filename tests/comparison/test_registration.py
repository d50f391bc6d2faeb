"""Grains that were moved and turned by known amounts, found again to 0.1 voxel and 0.2 deg."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lib.comparison.maps import Map, read_inside
from lib.comparison.registration import register
from tests.comparison.moved import Grain, see, turned_pairs

VOXEL = 0.5
SMALL = {"shape": (48, 48, 48), "spacing": (VOXEL,) * 3}
GRAIN = Grain()
LOADED = 0.05 * np.random.default_rng(7).normal(size=(12, 2))

CASES = {
    "at rest": {},
    "less than a voxel": {"shift": (0.17, -0.12, 0.21)},
    "several voxels": {"shift": (1.7, -2.2, 1.05)},
    "a degree": {"shift": (0.3, 0.1, -0.2), "turn": (0.6, -0.5, 0.6)},
    "five degrees": {"shift": (1.3, 0.1, -0.2), "turn": (3.0, -2.5, 3.0), "common": (0.3, -0.2)},
    "about the scattering vector": {"turn": (5.0, 0.0, 0.0)},
    "vertical": {"mode": "vertical", "shift": (1.3, 0.1, -0.2), "turn": (3.0, -2.5, 3.0)},
    "other voxels": {
        "shift": (1.3, 0.1, -0.2),
        "turn": (1.0, -0.5, 0.3),
        "spacing": (0.4, 0.6, 0.5),
        "shape": (60, 40, 52),
        "centre": (0.3, 0.4, 0.1),
    },
}


LOADS = {"each cell turned": lambda r: LOADED[GRAIN.cell(r)], "bent": lambda r: 0.01 * r[..., :2]}


def distances(motion, shift=(0, 0, 0), turn=(0, 0, 0)) -> tuple[float, float]:
    """How far from the truth, um and deg; the made-up grains are turned about the origin."""
    true = Rotation.from_rotvec(turn, degrees=True).apply(motion.centre_um) + shift - motion.centre_um
    return np.linalg.norm(motion.shift_um - true), np.linalg.norm(motion.turn_deg - turn)


@pytest.mark.parametrize("name", CASES)
def test_known_motions_are_found(name):
    case = CASES[name]
    mode = case.get("mode", "horizontal")
    motion = register(see(GRAIN, **SMALL), see(GRAIN, seed=1, **{**SMALL, **case}), mode)
    shift, turn = distances(motion, case.get("shift", (0, 0, 0)), case.get("turn", (0, 0, 0)))
    assert shift < 0.1 * VOXEL
    assert turn < 0.25


@pytest.mark.parametrize("name", LOADS)
def test_a_load_step_is_not_taken_for_a_turn(name):
    """What changed is a third of the differences between cells, and more: the shape must tell the turn."""
    turn = (1.0, -0.5, 0.3)
    motion = register(see(GRAIN), see(GRAIN, seed=1, turn=turn, strain=LOADS[name]), "horizontal")
    shift, off = distances(motion, turn=turn)
    assert shift < 0.1 * VOXEL
    assert off < 0.2


def test_the_same_twice_is_not_moved():
    grain = see(GRAIN)
    motion = register(grain, grain, "horizontal")
    assert np.abs(motion.shift_um).max() < 1e-3 * VOXEL
    assert np.abs(motion.turn_deg).max() < 0.01


def test_errors_tell_how_far_it_is_off():
    """Over some grains and motions; the pull is the rms of what is off in units of its error."""
    pulls = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        shift, turn = rng.uniform(-2, 2, 3), rng.uniform(-1.7, 1.7, 3)
        grain = Grain(seed=seed)
        motion = register(see(grain), see(grain, seed=1, shift=shift, turn=turn), "horizontal")
        pulls.append((motion.turn_deg - turn) / motion.turn_error_deg)
    assert 0.5 < np.sqrt(np.mean(np.square(pulls))) < 2.2


def test_a_sphere_of_one_cell_does_not_tell_its_turn():
    grain = Grain(n_cells=1, radii=(9.0, 9.0, 9.0), bite=False)
    motion = register(see(grain), see(grain, seed=1, shift=(1.3, 0.1, -0.2)), "horizontal")
    assert np.linalg.norm(motion.shift_um - (1.3, 0.1, -0.2)) < 0.1 * VOXEL
    assert motion.turn_error_deg.max() > 0.3
    assert np.abs(motion.turn_deg).max() < 3 * motion.turn_error_deg.max()


def test_a_box_that_cuts_the_grain_does_not_pull():
    motion = register(
        see(GRAIN, shape=(40, 32, 48)),
        see(GRAIN, seed=1, shape=(48, 48, 34), shift=(1.3, 0.1, -0.2)),
        "horizontal",
    )
    shift, turn = distances(motion, (1.3, 0.1, -0.2))
    assert shift < 0.1 * VOXEL
    assert turn < 0.7


def test_shapes_alone():
    """Of scans that tell no orientation."""
    maps = see(GRAIN), see(GRAIN, shift=(0.6, 0.3, -0.7), turn=(2.0, 1.0, -1.0))
    bare = [Map(m.mask, m.first_um, m.spacing_um) for m in maps]
    shift, turn = distances(register(*bare, "horizontal"), (0.6, 0.3, -0.7), (2.0, 1.0, -1.0))
    assert shift < 0.1 * VOXEL
    assert turn < 0.5


def test_a_single_layer():
    turn = (0.0, 0.0, 2.0)
    layer = {"shape": (48, 48, 1)}
    maps = see(GRAIN, **layer), see(GRAIN, **layer, seed=1, shift=(0.6, 0.3, 0.0), turn=turn)
    motion = register(*maps, "horizontal")
    assert distances(motion, (0.6, 0.3, 0.0), turn)[0] < 0.2 * VOXEL
    assert abs(motion.turn_deg[2] - 2.0) < 0.7  # a rim of a hundred voxels
    assert motion.shift_error_um[:2].max() < 0.2 * VOXEL < motion.shift_error_um[2]
    assert motion.turn_error_deg[2] < 1.0 < motion.turn_error_deg[:2].min()


@pytest.mark.parametrize("mode", ("horizontal", "vertical"))
def test_pairs_are_turned_back(mode):
    motion = register(see(GRAIN), see(GRAIN), mode)._replace(turn_deg=np.array([4.0, 0.0, 4.0]))
    pairs = np.array([[0.1, 0.2], [-0.3, 0.05]])
    back = motion.tilts_to_first(mode, turned_pairs(mode, pairs, 4.0).T)
    np.testing.assert_allclose(back.T, pairs, atol=1e-12)


def test_places_go_there_and_back():
    motion = register(see(GRAIN), see(GRAIN), "horizontal")._replace(
        turn_deg=np.array([4.0, -3.0, 2.0]), shift_um=np.array([1.0, 2.0, 3.0])
    )
    places = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(motion.to_first(motion.to_second(places)), places, atol=1e-12)


def test_reading_between_voxels_leaves_out_what_is_not_grain():
    values, mask = np.full((4, 4, 4), 7.0), np.ones((4, 4, 4), bool)
    mask[2:] = False
    values[2:] = np.nan
    at = np.array([[0.5, 1.4, 1.6], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(read_inside(values, mask, at), [7.0, 7.0, np.nan])
