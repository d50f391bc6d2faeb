"""What was scanned: the array, what its positions mean, and the omegas in use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..physics.scan_types import ScanType
from ..physics.tilts import Interpolation, OrientationGrid, Resolution
from .store import Scan

Array = NDArray[np.float64]

_UNSEEN = 1e-5  # of a full response; less than that is nothing, and need not be worked out


@dataclass(frozen=True)
class Measurement:
    """A scan and how to read it.

    omega_index (n,) are the omegas in use, omega_rad (n,) their right-handed angles, turns (n,) how a map
    is turned into the sample frame at each (none where it lies in it). tilt_zero_deg is the origin of
    the sample-frame tilts; scan_types say what was scanned and what is unknown: one, or two for
    `rocking_strain`. mode is the plane of scattering.
    """

    scan: Scan
    scan_types: tuple[ScanType, ...]
    mode: str
    tilt_zero_deg: tuple[float, float]
    omega_index: NDArray[np.int64]
    omega_rad: Array
    turns: list[Interpolation]

    @property
    def n_omega(self) -> int:
        """Number of omegas in use."""
        return self.omega_index.size

    @property
    def omega_deg(self) -> Array:
        """Positions (n,) of the motor at the omegas in use."""
        return self.scan.omega_deg[self.omega_index]

    @property
    def scan_type(self) -> ScanType:
        """The scan at hand; the first where one measurement holds two."""
        return self.scan_types[0]

    @property
    def scan_name(self) -> str:
        """What was scanned, as the key `scan` has it."""
        return "rocking_strain" if len(self.scan_types) > 1 else self.scan_type.name

    def parts(self) -> list[Measurement]:
        """One for each of the scans that the measurement holds."""
        return [replace(self, scan_types=(kind,)) for kind in self.scan_types]

    def of_omegas(self, chosen: range) -> Measurement:
        """With some of the omegas in use, given by their numbers."""
        index = np.array(chosen, dtype=np.int64)
        turns = [self.turns[k] for k in chosen] if self.turns else []
        return replace(
            self, omega_index=self.omega_index[index], omega_rad=self.omega_rad[index], turns=turns
        )

    @property
    def tilt_frame(self) -> str:
        """The frame in which the scanned tilts turn."""
        return self.scan_type.tilt_frame

    @property
    def n_pairs(self) -> int:
        """Number of tilt pairs."""
        return self.scan.shape[0] * self.scan.shape[1]

    @property
    def scanned_shape(self) -> tuple[int, int]:
        """Number of positions along the two tilts, counts that belong together added up."""
        sizes = [1 if i == self.scan_type.summed_over else self.scan.shape[i] for i in range(2)]
        return sizes[0], sizes[1]

    @property
    def n_summed(self) -> int:
        """How many frames are added up for one scanned position."""
        over = self.scan_type.summed_over
        return 1 if over is None else self.scan.shape[over]

    def put_together(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (..., n_pairs) of the frames as those of the scanned positions, (..., n_scanned)."""
        over = self.scan_type.summed_over
        if over is None:
            return values
        whole = values.reshape(*values.shape[:-1], *self.scan.shape[:2])
        return np.ascontiguousarray(whole.sum(axis=over - 2, dtype=np.float32))

    def relative_axes_deg(self) -> tuple[Array, Array]:
        """The scanned tilts relative to tilt_zero; one that is added up over stands at zero."""
        return self._axes_from(*self.tilt_zero_deg)

    def _axes_from(self, zero1: float, zero2: float) -> tuple[Array, Array]:
        axes = [self.scan.tilt1_deg - zero1, self.scan.tilt2_deg - zero2]
        if self.scan_type.summed_over is not None:
            axes[self.scan_type.summed_over] = np.zeros(1)
        return axes[0], axes[1]

    @property
    def steps_deg(self) -> tuple[float, float]:
        """Mean steps of the two axes of the unknown; 1 for one that has a single position."""
        return self.steps_of(self._axes_from(0.0, 0.0))

    def steps_of(self, axes_deg: tuple[Array, Array]) -> tuple[float, float]:
        """`steps_deg` for other positions of the scanned axes."""
        step1, step2 = (
            float(np.ptp(axis)) / (axis.size - 1) if axis.size > 1 else 1.0
            for axis in self.scan_type.axes_of(axes_deg)
        )
        return step1, step2

    @property
    def usual_step_deg(self) -> float:
        """Mean of the steps of the unknown's axes."""
        return self.usual_step_of(self._axes_from(0.0, 0.0))

    def usual_step_of(self, axes_deg: tuple[Array, Array]) -> float:
        """`usual_step_deg` for other positions of the scanned axes."""
        n_unknown = 1 if not self.scan_type.unknown[1] else 2
        return sum(self.steps_of(axes_deg)[:n_unknown]) / n_unknown

    def response(
        self, axes_deg: tuple[Array, Array], grid: OrientationGrid, resolution: Resolution, k: int
    ) -> NDArray[np.float32]:
        """K_w (n_scanned, n_states) of scanned axes (from tilt_zero) at the k-th omega in use."""
        sees = self.scan_type.response(self.mode, axes_deg, grid, resolution, float(self.omega_rad[k]))
        return np.where(sees < _UNSEEN, np.float32(0.0), sees)

    def measured(self, k: int) -> NDArray[np.bool_]:
        """Which tilt pairs (n_pairs,) were measured at the k-th omega in use."""
        return self.scan.measured[:, :, self.omega_index[k]].ravel()

    @property
    def share_of_frames(self) -> Array:
        """How many frames every omega (n_omega,) has, as a share of the most that any has."""
        n_frames = self.scan.measured[:, :, self.omega_index].sum(axis=(0, 1))
        return np.asarray(n_frames / n_frames.max())

    @property
    def lacking(self) -> NDArray[np.bool_]:
        """Which pairs of the maps, turned where they are, were not measured: (n_omega, n_pairs)."""
        missing = ~np.moveaxis(self.scan.measured, 2, 0)[self.omega_index].reshape(self.n_omega, -1)
        if not self.turns or not missing.any():
            return missing
        return np.stack([turn.leans_on(lost) for turn, lost in zip(self.turns, missing, strict=True)])

    @property
    def may_lack(self) -> bool:
        """Whether something of the maps may not have been measured: pairs, or pixels of a type with NaN."""
        return self.scan.dtype.kind == "f" or bool(self.lacking.any())

    def scanned(self, k: int) -> NDArray[np.bool_]:
        """Which scanned positions (n_scanned,) were wholly measured at the k-th omega in use."""
        return np.asarray(self.put_together(self.measured(k)) == self.n_summed)
