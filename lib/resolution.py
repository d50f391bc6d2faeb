"""Width of the instrument's resolution, estimated from the scan itself.

The resolution blurs along directions that are fixed in the lab, the grain's own spread of
orientations turns with it; so the two can be told apart, and the likelihood of a reconstruction has a
maximum at the right widths. A coarse volume and a few omegas suffice for that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from . import kernels_em, mlem
from .bands import Bands
from .hull import Hull
from .mlem import Model, NoExchange, View
from .parallel import Comm, together
from .partition import block
from .setting import Setting
from .tilts import OrientationGrid, Resolution, response

Array = NDArray[np.float64]

_N_OMEGA = 24
_PIXELS_ACROSS = 32
_ITERATIONS, _SUBSETS = 3, 4
_START = (1.0, 1.4)  # widths in steps of the scan
_EVALUATIONS = 24
_FACTOR = 1.3  # between the first trials


def find_resolution(setting: Setting, hull: Hull, dark: tuple[float, float], comm: Comm) -> Resolution:
    """The widths of the init file in degrees, those that are `auto` estimated. Collective."""
    rock, roll = given = setting.params.rock_width, setting.params.roll_width
    if rock is not None and roll is not None:
        return Resolution(rock, roll)
    chosen = np.unique(np.linspace(0, setting.omega_index.size - 1, _N_OMEGA).round().astype(int))
    factor = max(1, -(-max(setting.views.detector_shape) // _PIXELS_ACROSS))
    images: list[Array] = []
    with together(comm), Bands(setting.scan, setting.omega_index) as bands:
        mine = block(chosen.size, comm.size, comm.rank)
        images = [_binned(setting, bands, int(chosen[k]), factor) for k in mine]
    parts = comm.gather(images)
    found: Resolution | None = None
    with together(comm):
        if comm.rank == 0:
            coarse = _Coarse(setting, hull, chosen, factor, [i for part in parts for i in part], dark)
            with threadpool_limits(1):
                found = _search(setting, coarse, given)
    result: Resolution = comm.bcast(found)
    return result


def _binned(setting: Setting, bands: Bands, k: int, factor: int) -> Array:
    """Counts (n_x * n_y, n_scanned) of one omega, summed over factor x factor pixels."""
    n_x, n_y = setting.views.detector_shape
    flat = bands.load(slice(k, k + 1), np.array([[0, 0, n_x, n_y]])).flat
    small_x, small_y = n_x // factor, n_y // factor
    image = flat.reshape(n_x, n_y, -1)[: small_x * factor, : small_y * factor]
    blocks = image.reshape(small_x, factor, small_y, factor, -1).sum(axis=(1, 3), dtype=np.float32)
    return blocks.reshape(small_x * small_y, -1)


class _Coarse:
    """The scan on coarse voxels and pixels; `deviance` says how badly given widths explain it."""

    def __init__(
        self,
        setting: Setting,
        hull: Hull,
        chosen: NDArray[np.int64],
        factor: int,
        images: list[Array],
        dark: tuple[float, float],
    ) -> None:
        self.setting, self.chosen = setting, chosen
        self.xyz_um = _coarse_voxels(setting, hull, factor)
        n_x, n_y = (n // factor for n in setting.views.detector_shape)
        self.shape = (n_x, n_y)
        self.dark = (dark[0] * factor**2, dark[1] * factor**2)
        self.matrix = setting.views.matrix[chosen] / factor
        self.shift = (setting.views.shift[chosen] - (factor - 1) / 2.0) / factor
        self.parts = []
        for matrix, shift, image in zip(self.matrix, self.shift, images, strict=True):
            hit = np.zeros(n_x * n_y, dtype=np.bool_)
            cover = np.zeros(self.xyz_um.shape[0], dtype=np.float32)
            kernels_em.mark_pixels(self.xyz_um, matrix, shift, self.shape, hit, cover)
            pixels = np.flatnonzero(hit)
            self.parts.append((pixels, image[pixels], cover))

    def deviance(self, resolution: Resolution) -> float:
        """Minus the log likelihood per count after a few iterations."""
        setting = self.setting
        axes = setting.relative_axes_deg()
        sharp = resolution.sharpened(sum(setting.steps_deg) / 2)
        grid = OrientationGrid.refine(*axes, 1)
        views = []
        for k, (pixels, data, cover) in enumerate(self.parts):
            measured, omega = setting.measured(self.chosen[k]), setting.omega(self.chosen[k])
            sees = response(setting.tilt_frame, setting.params.mode, *axes, grid, sharp, omega)
            sees[~measured] = 0.0
            owned = np.ones(pixels.size, dtype=np.bool_)
            views.append(
                View(self.matrix[k], self.shift[k], self.shape, pixels, data, measured, sees, cover, owned)
            )
        model = Model(self.xyz_um, views, *self.dark)
        maps, _ = mlem.maximise(model, grid.n_pairs, _ITERATIONS, _SUBSETS, NoExchange())
        return model.deviance(maps)


def _coarse_voxels(setting: Setting, hull: Hull, factor: int) -> Array:
    """Centres (n, 3) of cells about as wide as a coarse pixel that hold voxels of the hull."""
    xyz = setting.centres_um(hull.voxels(range(hull.total)))
    cell = factor / setting.params.M
    _, which = np.unique(np.floor(xyz / cell).astype(np.int64), axis=0, return_inverse=True)
    which = which.reshape(-1)
    sums = np.stack([np.bincount(which, weights=column) for column in xyz.T], axis=1)
    return sums / np.bincount(which)[:, None]


def _search(setting: Setting, coarse: _Coarse, given: tuple[float | None, float | None]) -> Resolution:
    """Minimise the deviance over the widths that are not given."""
    steps = setting.steps_deg
    free = [i for i in range(2) if given[i] is None]

    def widths(logarithms: Array) -> Resolution:
        values = [0.0 if g is None else g for g in given]
        for i, logarithm in zip(free, logarithms, strict=True):
            values[i] = float(np.exp(np.clip(logarithm, np.log(0.2 * steps[i]), np.log(20.0 * steps[i]))))
        return Resolution(values[0], values[1])

    start = np.log([_START[i] * steps[i] for i in free])
    simplex = np.vstack([start, start + np.log(_FACTOR) * np.eye(len(free))])
    best = minimize(
        lambda x: coarse.deviance(widths(x)),
        start,
        method="Nelder-Mead",
        options={"maxfev": _EVALUATIONS, "initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-6},
    )
    return widths(best.x)
