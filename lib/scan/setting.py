"""What the init file and the scan together say, worked out once for the whole run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import Recon3DError
from ..initfile.parameters import Parameters
from ..physics import noise
from ..physics.geometry import OMEGA_AXIS, TILT_FRAMES, roi_center
from ..physics.noise import Dark
from ..physics.scan_types import (
    SCANS,
    ScanType,
    check_scan,
    guess_scan,
    scan_types,
    two_theta_axes,
    whole_turn,
)
from ..physics.tilts import turn_back
from ..projection.footprint import bins_for
from ..projection.projector import Projector
from ..projection.views import Block, Views
from . import dark, store
from .alignment import Alignment
from .binned import binned, whole_bins
from .measurement import Measurement
from .optics import differences
from .store import Scan

Array = NDArray[np.float64]

_TOTALS_BYTES = 128 << 20  # per rank
_QUICK_OMEGAS = 48  # at least, of a quick look, where there are as many
_NOT_YET = Block(np.zeros(1), np.zeros(1), np.zeros(1))  # the volume, until `box` has found it


@dataclass(frozen=True)
class Setting:
    """What the init file and the scan together say, the same on every rank.

    params is what was said, measurement what was scanned, projector how it projects. threshold is in counts,
    dark_pixel what a pixel of the detector without light holds. alignment is the fit that rotation axis or
    drift come from, if they do; found are the keys of params that the scan told. totals, where they are
    wanted later, are the images of all tilts that this rank has met so far, by number of omega; NaN where a
    pixel was not measured at all. lit are bits of the pixels that are above the threshold at any pair of
    tilts, where they are all known.
    """

    params: Parameters
    measurement: Measurement
    projector: Projector
    threshold: float
    dark_pixel: Dark
    warnings: list[str]
    alignment: Alignment | None = None
    totals: dict[int, NDArray[np.float32]] | None = None
    lit: dict[int, NDArray[np.uint8]] | None = None
    found: tuple[str, ...] = ()

    def parts(self) -> list[Setting]:
        """One setting for each of the scans that the measurement holds."""
        return [replace(self, measurement=part) for part in self.measurement.parts()]

    def fitted_to_voxels(self) -> Setting:
        """With images that are summed to the size of the voxels, where these are wider than a pixel.

        Positions are those of the bins then; the totals are shared, and either's.
        """
        bins = bins_for(self.projector.views, self.projector.voxel_um)
        if bins == (1, 1):
            return self
        scan = self.measurement.scan
        shape, first = whole_bins(scan.shape[3:], bins)
        measurement = replace(self.measurement, scan=scan.binned(bins))
        return replace(self, measurement=measurement, projector=self.projector.binned(bins, first, shape))

    def remembering(self) -> Setting:
        """The same, that remembers the images it meets from now on."""
        return replace(self, totals={}, lit={})

    def keep_total(self, k: int, image: NDArray[np.float32]) -> None:
        """Remember the image (n_x, n_y) of all tilts at the k-th omega in use, while there is room for it."""
        if self.totals is not None and (len(self.totals) + 1) * image.nbytes <= _TOTALS_BYTES:
            self.totals[k] = image

    def kept_total(self, k: int) -> NDArray[np.float32] | None:
        """What `keep_total` remembers of the k-th omega in use, in the bins of now.

        None where that is nothing, or where pixels may be unknown, which count for nothing in it.
        """
        image, scan = (self.totals or {}).get(k), self.measurement.scan
        if image is None or (scan.unbinned or scan).dtype.kind == "f":
            return None
        return image if image.shape == scan.shape[3:] else binned(image, scan.bins)

    @property
    def dark(self) -> Dark:
        """What the pixels without light hold, bins of them where images are summed."""
        return self.dark_pixel.times(math.prod(self.measurement.scan.bins))

    @property
    def drift_px(self) -> Array:
        """The drift (n, 2) that was taken out of the projections."""
        if self.alignment is None or self.params.drift != "correct":
            return np.zeros((self.measurement.n_omega, 2))
        return self.alignment.drift_px


def prepare(params: Parameters, scan: Scan | None = None) -> Setting:
    """Read everything but the pixels, if no scan is given, and work out what holds for the whole run."""
    scan = scan or store.read_scan(Path(params.path))
    omegas = _omegas_in_use(params, scan)
    scan, warnings = dark.with_gaps(scan)
    warnings += dark.unknown_pixels(scan, omegas)
    if params.background is not None:
        scan = replace(scan, dark=dark.given_level(scan, params.background))
    else:
        found, signal = dark.find_level(scan, omegas)
        scan = replace(scan, dark=found.level)
        warnings += dark.warnings_of(found, signal)
    frames = dark.sample_frames(scan, omegas)
    dark_pixel, threshold = dark.dark_values(scan, frames), params.threshold
    if threshold is None:
        threshold = noise.auto_threshold(dark.known_values(scan, frames))
    setting = work_out(params, scan, float(threshold), dark_pixel)
    return replace(setting, warnings=setting.warnings + warnings)


def work_out(params: Parameters, scan: Scan, threshold: float, dark_pixel: Dark) -> Setting:
    """The setting of a scan that was read, without a look at its pixels."""
    warnings = differences(params, scan.info)
    name = _scan_name(params, scan)
    tilt_frame = _tilt_frame(params, scan, name, warnings)
    check_scan(name, tilt_frame, *scan.shape[:2])
    kinds = tuple(scan_types(name, tilt_frame))
    _check_method(params.method, name, kinds)
    omega_index = _omegas_in_use(params, scan)
    axes = (scan.tilt1_deg, scan.tilt2_deg)
    middle = tuple(float(axis[0] + axis[-1]) / 2 for axis in axes)
    zero = params.tilt_zero or middle
    omega = params.omega_sign * np.radians(scan.omega_deg[omega_index])
    relative = [axis - z for axis, z in zip(axes, zero, strict=True)]
    mean = [m - z for m, z in zip(middle, zero, strict=True)]
    for i in two_theta_axes(name):
        relative[i], mean[i] = np.zeros_like(relative[i]), 0.0
    center = _center(params, scan)
    views, pair_views = _views(params, scan, tilt_frame, omega, relative, mean, center)
    turns = []
    if kinds[0].turns:
        turns = [turn_back(params.mode, relative[0], relative[1], w) for w in omega]
    if params.method == "rocking" and not whole_turn(omega):
        warnings.append(
            f"omega covers {np.degrees(np.ptp(omega)):.0f} degrees, less than a full turn: tilt2 and "
            "the offset of method rocking are hard to tell apart, their errors grow (2.3 times "
            "over half a turn); mlem takes the offset to be nil"
        )
    volume = Block(*params.axes_um) if params.has_volume else _NOT_YET
    dx, dy, dz = (params.voxel_um if params.has_volume else np.full(3, 1.0 / params.M)).tolist()
    measurement = Measurement(scan, kinds, params.mode, (zero[0], zero[1]), omega_index, omega, turns)
    projector = Projector(volume, OMEGA_AXIS[params.mode], views, pair_views, center, (dx, dy, dz))
    return Setting(params, measurement, projector, threshold, dark_pixel, warnings)


def _center(params: Parameters, scan: Scan) -> tuple[float, float]:
    """Where the init file says that the axis is; `auto` starts from the middle."""
    given = params.detector_center
    if not given or isinstance(given, str):
        return roi_center((scan.shape[3], scan.shape[4]))
    return float(given[0]), float(given[1])


def _views(
    params: Parameters,
    scan: Scan,
    tilt_frame: str,
    omega: Array,
    relative: list[Array],
    mean: list[float],
    center: tuple[float, float],
) -> tuple[Views, Views | None]:
    """The projections at the mean tilt, and at every pair of tilts if they are asked for.

    relative are the two tilt axes and mean their middle, in degrees from tilt_zero.
    """
    n_x, n_y = scan.shape[3:]
    geometry = params.geometry().with_center(center)
    names = ("phi_up", "phi_lo") if tilt_frame == "sample" else ("mu", "gamma")

    def at(angles: ArrayLike, tilt1_deg: ArrayLike, tilt2_deg: ArrayLike) -> Views:
        tilts = dict(zip(names, (np.radians(tilt1_deg), np.radians(tilt2_deg)), strict=True))
        matrix, shift = geometry.sample_to_pixel(angles, **tilts)
        return Views(np.ascontiguousarray(matrix), np.ascontiguousarray(shift), (n_x, n_y))

    views = at(omega, mean[0], mean[1])
    if params.projection == "mean":
        return views, None
    tilt1, tilt2 = np.meshgrid(relative[0], relative[1], indexing="ij")
    return views, at(omega[:, None], tilt1.ravel(), tilt2.ravel())


def _scan_name(params: Parameters, scan: Scan) -> str:
    """What was scanned: the init file and getdata.json must agree; else what the axes suggest."""
    found = scan.info.get("scan")
    if found is not None and found not in SCANS:
        raise Recon3DError(scan.folder / store.INFO, f"scan '{found}' must be one of {', '.join(SCANS)}")
    if params.scan and found and params.scan != found:
        roles = ", ".join(f"{axis} is {role}" for axis, role in scan.info.get("roles", {}).items())
        raise Recon3DError(
            "scan", f"{params.scan}, but {store.INFO} says {found} ({roles}); correct one of them"
        )
    return str(params.scan or found or guess_scan(*scan.shape[:2]))


def _tilt_frame(params: Parameters, scan: Scan, name: str, warnings: list[str]) -> str:
    """As the init file or getdata.json says; else the tilts are above omega, but a rocking motor is below."""
    found = scan.info.get("tilt_frame")
    if params.tilt_frame and found and params.tilt_frame != found:
        warnings.append(f"tilt_frame {params.tilt_frame} of the init file overrides {found} of {store.INFO}")
    usual = "lab" if name.startswith("rocking") and params.method != "backprojection" else "sample"
    tilt_frame = params.tilt_frame or found or usual
    if tilt_frame not in TILT_FRAMES:
        raise Recon3DError(scan.folder / store.INFO, f"tilt_frame '{tilt_frame}' must be sample or lab")
    return str(tilt_frame)


def _check_method(method: str, name: str, kinds: tuple[ScanType, ...]) -> None:
    """Not every method can read every scan."""
    in_lab = kinds[0].tilt_frame == "lab"
    if method == "backprojection" and name.startswith("rocking") and (in_lab or len(kinds) > 1):
        raise Recon3DError(
            "method", f"backprojection cannot tell tilt1 from tilt2 in a scan of {name}; use mlem or rocking"
        )
    if method == "rocking" and (name != "rocking" or not in_lab):
        raise Recon3DError(
            "method",
            f"rocking needs `scan rocking` in tilt_frame lab, this is {name} in {kinds[0].tilt_frame}",
        )


def _omegas_in_use(params: Parameters, scan: Scan) -> NDArray[np.int64]:
    """Indices of the measured omegas that are not excluded; a quick look takes every n-th of them."""
    used = scan.measured.any(axis=(0, 1))
    if not used.any():
        raise Recon3DError(scan.folder / store.MEASURED, "says that nothing was measured")
    for low, high in params.omega_exclude:
        used &= ~((scan.omega_deg >= low) & (scan.omega_deg <= high))
    if not used.any():
        raise Recon3DError("omega_exclude", "leaves no omega to reconstruct from")
    index = np.flatnonzero(used)
    return index[:: max(1, index.size // _QUICK_OMEGAS)] if params.quality == "quick" else index
