"""How fine the map is, from two halves of the data: the Fourier shell correlation of cryo-EM.

Two maps from half of the omegas each are compared shell by shell in Fourier space; where the correlation
falls below 0.143 the data no longer tell details of that length (Rosenthal & Henderson 2003, J. Mol. Biol.
333, 721). The second half is what the whole was made of beside the first: twice the
whole less it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import Difference, Grain, box_of
from .shape import as_field

Array = NDArray[np.float64]

OF_HALVES, OF_TRUTH = 0.143, 0.5  # correlation below which a detail is not told
_MARGIN = 4  # voxels around the grain
_NORMAL = 1.4826  # standard deviation over median absolute deviation


@dataclass(frozen=True)
class MapResolution:
    """Correlation of the halves by shell: of the orientations, and of the shape.

    frequency (n,) in 1/um is the middle of each shell. orientation_um and shape_um are the lengths at which
    the correlations fall below the cutoff, two voxels where they do not; orientation_deg is by how much the
    orientation of the usual voxel is off.
    """

    frequency: Array
    orientation: Array
    shape: Array
    orientation_um: float
    shape_um: float
    orientation_deg: float
    cutoff: float

    @classmethod
    def of(
        cls,
        grain: Grain,
        tested: Difference | None,
        half: Difference | None,
        voxel_um: tuple[float, float, float],
    ) -> MapResolution | None:
        """From the result and how far half of the omegas are from it, or else its self-test; None without.

        A half is compared with the other one, the self-test with the result, which is its truth.
        """
        apart_from = half or tested
        if apart_from is None:
            return None
        cutoff, other = (OF_HALVES, -1.0) if half is not None else (OF_TRUTH, 0.0)
        if not grain.mask.any():
            return None
        box = box_of(grain.mask)
        inside = grain.mask[box]
        known = np.asarray(np.isfinite(apart_from.tilts).all(axis=1))
        middle = np.median(grain.tilts, axis=0)
        tilts = np.where(known[:, None], grain.tilts - middle, 0.0)
        apart = np.where(known[:, None], apart_from.tilts, 0.0)
        maps = [
            np.nan_to_num(as_field(values[:, 0], inside) + 1j * as_field(values[:, 1], inside))
            for values in (tilts + apart, tilts + other * apart)
        ]
        shapes = [(grain.density + sign * apart_from.density)[box] for sign in (1.0, other)]
        frequency, orientation = shell_correlation(maps[0], maps[1], voxel_um)
        _, shape = shell_correlation(shapes[0], shapes[1], voxel_um)
        finest = 2.0 * max(voxel_um)
        change = _NORMAL * np.median(np.abs(apart_from.tilts[known])) if known.any() else np.nan
        return cls(
            frequency,
            orientation,
            shape,
            _falls_at(frequency, orientation, cutoff, finest),
            _falls_at(frequency, shape, cutoff, finest),
            float(change),
            cutoff,
        )

    def facts(self) -> dict[str, float | Array]:
        """For the attributes of the result."""
        return {
            "map_resolution_um": self.orientation_um,
            "shape_resolution_um": self.shape_um,
            "map_resolution_deg": self.orientation_deg,
            "correlation_frequency_per_um": self.frequency,
            "correlation_of_orientation": self.orientation,
            "correlation_of_shape": self.shape,
            "correlation_cutoff": self.cutoff,
        }


def shell_correlation(
    one: NDArray[np.complex128] | Array, other: NDArray[np.complex128] | Array, voxel_um: tuple[float, ...]
) -> tuple[Array, Array]:
    """Frequencies (n,) in 1/um of shells of Fourier space, and the correlation of two fields in each."""
    padded = [np.pad(field, _MARGIN) for field in (one, other)]
    a, b = (np.fft.fftn(field) for field in padded)
    axes = [np.fft.fftfreq(n, size) for n, size in zip(a.shape, voxel_um, strict=True)]
    length = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij", sparse=True)))
    most = 0.5 / max(voxel_um)
    n_shells = max(min(a.shape) // 2, 1)
    shell = np.floor(length / most * n_shells).astype(np.int64).ravel()
    there = shell < n_shells

    def summed(values: Array) -> Array:
        return np.asarray(np.bincount(shell[there], values.ravel()[there], n_shells), dtype=np.float64)

    power = np.sqrt(summed(np.abs(a) ** 2) * summed(np.abs(b) ** 2))
    common = summed((a * np.conj(b)).real)
    correlation = np.divide(common, power, out=np.zeros(n_shells), where=power > 0.0)
    return most * (np.arange(n_shells) + 0.5) / n_shells, correlation


def _falls_at(frequency: Array, correlation: Array, cutoff: float, finest_um: float) -> float:
    """The length at which the correlation first falls below the cutoff, linear between shells.

    The innermost shell holds the mean and few waves, and is left out.
    """
    below = 1 + np.flatnonzero(correlation[1:] < cutoff)
    if not below.size:
        return finest_um
    k = int(below[0])
    if k == 1:
        return float(1.0 / frequency[1])
    drop = (correlation[k - 1] - cutoff) / max(correlation[k - 1] - correlation[k], 1e-12)
    return float(1.0 / (frequency[k - 1] + drop * (frequency[k] - frequency[k - 1])))
