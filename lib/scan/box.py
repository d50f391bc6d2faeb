"""The volume that the init file leaves open: a box about the grain, and its voxels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..initfile.parameters import FOUND_KEYS, Parameters
from ..projection.views import Block
from .extent import Bounds, Small, find_extent, in_bins
from .look import Image, shrinkage
from .setting import Setting

Array = NDArray[np.float64]

_VOXEL_PX = {"quick": 1.0, "normal": 1.0, "fine": 0.7}  # quick makes wider ones of them
_MOST_VOXELS = {"quick": 2e6, "normal": 2e6, "fine": 4e6}
_MARGIN_PX, _MARGIN_VOXELS = 1.0, 1.0  # on each side
_WIDEST_MARGIN = 0.1  # of the grain, of those voxels
_ROOM = 1.3  # times the reach of the grain, to begin with
_LEAST_FRAMES = 0.5  # of those of other omegas, from which the rest is taken to be alike
_DIGITS = 4  # of lengths, in um


def find_box(setting: Setting, images: list[Image]) -> Setting:
    """The setting with the volume that the grain asks for, where the init file leaves it open.

    images are the small ones of `look`, of every omega in use.
    """
    if setting.params.has_volume:
        return setting
    start = _start(setting)
    bounds = find_extent(_small(setting, images), start)
    warnings = setting.warnings
    if bounds is None:
        bounds = start
        warnings = [
            *warnings,
            "the grain does not stand out from the noise, so that the volume is a guess; give grain_pos, "
            "grain_dim, grain_steps",
        ]
    params = choose(setting.params, bounds)
    found = tuple(key for key in FOUND_KEYS[:3] if not getattr(setting.params, key))
    dx, dy, dz = params.voxel_um.tolist()
    projector = replace(setting.projector, volume=Block(*params.axes_um), voxel_um=(dx, dy, dz))
    return replace(
        setting, params=params, projector=projector, warnings=warnings, found=setting.found + found
    )


def choose(params: Parameters, bounds: Bounds) -> Parameters:
    """The init file with the keys of the volume that were left open, for a grain within some bounds.

    The box has a margin of a pixel and a voxel on each side; what is given stays.
    """
    low, high = bounds
    pixel_um = 1.0 / params.M
    pos = np.array(params.grain_pos) if params.grain_pos else np.round((low + high) / 2, _DIGITS)
    grain_um = 2.0 * np.maximum(high - pos, pos - low)
    voxel_um = np.full(3, _VOXEL_PX[params.quality] * pixel_um)
    if params.grain_steps:
        voxel_um = np.minimum(grain_um / np.array(params.grain_steps), _WIDEST_MARGIN * grain_um)
    dim = np.array(params.grain_dim or grain_um + 2.0 * (_MARGIN_PX * pixel_um + _MARGIN_VOXELS * voxel_um))
    n_voxels = float(np.prod(np.maximum(dim / voxel_um, 1.0)))
    voxel_um *= max(1.0, n_voxels / _MOST_VOXELS[params.quality]) ** (1.0 / 3.0)
    steps = params.grain_steps or tuple(max(1, int(n)) for n in np.ceil(dim / voxel_um - 0.01))
    if not params.grain_dim and not params.grain_steps:
        dim = np.maximum(dim, np.array(steps) * voxel_um)
    return replace(params, grain_pos=_floats(pos), grain_dim=_floats(dim), grain_steps=steps)


def lines(setting: Setting) -> dict[str, Any]:
    """The keys that the scan told, with their values, as they may stand in the init file."""
    return {key: getattr(setting.params, key) for key in FOUND_KEYS if key in setting.found}


def seen_from_image(setting: Setting) -> Bounds:
    """A box that holds all that the image shows at every omega."""
    n_x, n_y = setting.projector.detector_shape
    corners = np.array([(x, y) for x in (-0.5, n_x - 0.5) for y in (-0.5, n_y - 0.5)])
    reach_px = np.linalg.norm(corners - setting.projector.center_px, axis=1).max()
    half = np.full(3, _ROOM * float(reach_px) / setting.params.M)
    return -half, half


def _start(setting: Setting) -> Bounds:
    """A box that surely holds the grain: about its centre of mass, if that is known."""
    fit = setting.alignment
    if fit is None:
        return seen_from_image(setting)
    half = _ROOM * fit.reach_um + 4.0 / setting.params.M
    return np.array(fit.grain_um) - half, np.array(fit.grain_um) + half


def _small(setting: Setting, images: list[Image]) -> Small:
    """The small images with their noise; of omegas that show the grain and, if that is known, no other."""
    measurement, views, factor = setting.measurement, setting.projector.views, shrinkage(setting)
    share = measurement.share_of_frames
    n_frames = measurement.scan.measured[:, :, measurement.omega_index].sum(axis=(0, 1))
    sigma = factor * np.sqrt(n_frames * setting.dark.stored_variance) / share
    use = share >= _LEAST_FRAMES
    if setting.alignment is not None:
        use &= ~setting.alignment.standing_out
    if use.sum() < use.size / 2:
        use[:] = True
    omega = np.sort(measurement.omega_rad[use])
    turn = float(np.ptp(omega)) * omega.size / max(omega.size - 1, 1)
    whole = Small(np.empty((0, 0, 0), np.float32), sigma, views, factor / setting.params.M, turn)
    return replace(whole, light=np.stack(images), views=in_bins(views, factor)).some(np.flatnonzero(use))


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(v) for v in np.round(values, _DIGITS))
