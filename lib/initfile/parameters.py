"""What an init file may say: every key declared once, with reader, unit, meaning and default."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..physics.geometry import MODES, TILT_FRAMES, Geometry, bragg_angle
from ..physics.scan_types import SCANS
from . import readers
from .readers import Value


def _key(
    group: str, reader: Callable[[Value], Any], text: str, *, unit: str = "", default: Any = MISSING
) -> Any:
    """Declare a key: its group in the documentation, reader, meaning, unit and default."""
    return field(default=default, metadata={"group": group, "reader": reader, "text": text, "unit": unit})


_XYZ = readers.list_of(readers.real, 3)
_SAMPLE, _MICROSCOPE, _VOLUME = "Sample and beam", "Microscope", "Volume"
_RECONSTRUCTION, _SIMULATION, _FILES = "Reconstruction", "Simulation", "Files"
_ORIGIN = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The contents of an init file. Lengths in micrometres, angles in degrees, as in the file."""

    path: str = _key(
        _FILES, readers.text, "folder of dataarray.npy, made by getdata.py; result goes here too"
    )
    output: str | None = _key(
        _FILES, readers.either("None", None, readers.text), "another folder for the result", default=None
    )

    unit_cell: tuple[float, ...] = _key(
        _SAMPLE,
        readers.list_of(readers.positive, 6),
        "cell of the crystal [a,b,c,alpha,beta,gamma]",
        unit="A, deg",
    )
    hkl: tuple[int, ...] = _key(
        _SAMPLE, readers.list_of(readers.integer, 3), "the measured reflection [h,k,l]"
    )
    wavelength: float = _key(_SAMPLE, readers.positive, "wavelength of the beam", unit="A")
    sg_no: int | None = _key(
        _SAMPLE,
        readers.either("None", None, readers.ranged(readers.integer, 1, 230)),
        "space group number; for the record",
        default=None,
    )

    M: float = _key(
        _MICROSCOPE, readers.positive, "magnification: detector pixels per um of sample", unit="px/um"
    )
    mode: str = _key(_MICROSCOPE, readers.choice(*MODES), "plane of scattering", default="horizontal")
    t_x: float | None = _key(
        _MICROSCOPE,
        readers.either("None", None, readers.real),
        "detector tilt about x (vertical mode); None: normal to the diffracted beam",
        unit="deg",
        default=None,
    )
    t_y: float | None = _key(
        _MICROSCOPE,
        readers.either("None", None, readers.real),
        "detector turn about the beam; must be 0 or None",
        unit="deg",
        default=None,
    )
    t_z: float | None = _key(
        _MICROSCOPE,
        readers.either("None", None, readers.real),
        "detector tilt about z (horizontal mode); None: normal to the diffracted beam",
        unit="deg",
        default=None,
    )
    xyz_up: tuple[float, ...] = _key(
        _MICROSCOPE, _XYZ, "focus point of the upper tilt", unit="um", default=_ORIGIN
    )
    xyz_lo: tuple[float, ...] = _key(
        _MICROSCOPE, _XYZ, "focus point of the lower tilt", unit="um", default=_ORIGIN
    )
    xyz_th: tuple[float, ...] = _key(
        _MICROSCOPE, _XYZ, "focus point of the base tilt theta", unit="um", default=_ORIGIN
    )
    detector_center: tuple[float, ...] | str | None = _key(
        _MICROSCOPE,
        readers.either("auto", "auto", readers.either("None", None, readers.list_of(readers.real, 2))),
        "image of the rotation axis [cx,cy] in the ROI; None: its middle; auto: from the data",
        unit="px",
        default=None,
    )
    drift: str = _key(
        _MICROSCOPE,
        readers.choice("none", "correct"),
        "correct: shift the images of each omega to where the rotation says that they belong",
        default="none",
    )
    o11: int = _key(
        _MICROSCOPE,
        readers.ranged(readers.integer, -1, 1),
        "flip of the image: px_x = cx + o11 x + o12 z",
        default=1,
    )
    o12: int = _key(_MICROSCOPE, readers.ranged(readers.integer, -1, 1), "(see o11)", default=0)
    o21: int = _key(
        _MICROSCOPE,
        readers.ranged(readers.integer, -1, 1),
        "flip of the image: px_y = cy + o21 x + o22 z",
        default=0,
    )
    o22: int = _key(_MICROSCOPE, readers.ranged(readers.integer, -1, 1), "(see o21)", default=1)
    rock_width: float | None = _key(
        _MICROSCOPE,
        readers.either("auto", None, readers.not_negative),
        "FWHM of the resolution in the rocking direction; 0: ignore; auto: from the data",
        unit="deg",
        default=None,
    )
    roll_width: float | None = _key(
        _MICROSCOPE,
        readers.either("auto", None, readers.not_negative),
        "FWHM of the resolution in the rolling direction; 0: ignore; auto: from the data",
        unit="deg",
        default=None,
    )

    strain_width: float | None = _key(
        _MICROSCOPE,
        readers.either("auto", None, readers.not_negative),
        "FWHM of the resolution in 2theta; 0: ignore; auto: from the data",
        unit="deg",
        default=None,
    )

    grain_pos: tuple[float, ...] = _key(_VOLUME, _XYZ, "middle of the volume", unit="um", default=_ORIGIN)
    grain_dim: tuple[float, ...] = _key(
        _VOLUME,
        readers.list_of(readers.positive, 3),
        "full size of the volume",
        unit="um",
        default=(20.0, 20.0, 20.0),
    )
    grain_steps: tuple[int, ...] = _key(
        _VOLUME, readers.list_of(readers.count, 3), "number of voxels", default=(100, 100, 100)
    )

    method: str = _key(
        _RECONSTRUCTION,
        readers.choice("mlem", "backprojection", "rocking"),
        "how to reconstruct",
        default="mlem",
    )
    iterations: int = _key(
        _RECONSTRUCTION, readers.count, "of mlem, at most; it stops when the misfit stands", default=8
    )
    subsets: int | None = _key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.count),
        "of omegas in mlem; auto: about 8 omegas in each",
        default=None,
    )
    memory: float | None = _key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.not_negative),
        "that the counts of mlem may take on each node, else they are read anew in every iteration; "
        "auto: half of what is free",
        unit="GB",
        default=None,
    )
    completeness_cutoff: float = _key(
        _RECONSTRUCTION,
        readers.ranged(readers.real, 0, 1),
        "share of omegas at which a voxel must be lit to count as grain",
        default=0.5,
    )
    threshold: float | None = _key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.not_negative),
        "a pixel above this is lit; auto: from the noise of the dark pixels",
        unit="counts",
        default=None,
    )
    background: tuple[float, ...] | None = _key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.list_of(readers.real)),
        "dark level on which the counts stand, one number or one for each omega; auto: from the dark pixels",
        unit="counts",
        default=None,
    )
    binarize: bool = _key(
        _RECONSTRUCTION, readers.boolean, "sum lit (1) and dark (0) instead of counts", default=False
    )
    scan: str | None = _key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.choice(*SCANS)),
        "what was scanned beside omega; auto: as getdata.py found, else by the sizes of the axes",
        default=None,
    )
    tilt_frame: str | None = _key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.choice(*TILT_FRAMES)),
        "tilts above omega (sample) or fixed in the lab (lab); auto: as getdata.py found, else sample, and "
        "lab for rocking",
        default=None,
    )
    tilt_zero: tuple[float, ...] | None = _key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.list_of(readers.real, 2)),
        "motor positions [tilt1,tilt2] at which the mean orientation diffracts; auto: middle of the scan",
        unit="deg",
        default=None,
    )
    strain_zero: float | None = _key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.real),
        "2theta without strain; auto: the mean of the grain",
        unit="deg",
        default=None,
    )
    projection: str = _key(
        _RECONSTRUCTION,
        readers.choice("mean", "exact"),
        "geometry of the mean tilt for all tilts, or of each tilt pair (slower)",
        default="mean",
    )
    omega_sign: int = _key(
        _RECONSTRUCTION, readers.integer, "1, or -1 where the motor turns left-handed", default=1
    )
    omega_exclude: tuple[tuple[float, ...], ...] = _key(
        _RECONSTRUCTION,
        readers.list_of(readers.list_of(readers.real, 2)),
        "ranges of omega to leave out [[from,to],...]",
        unit="deg",
        default=(),
    )

    stem: str | None = _key(
        _SIMULATION,
        readers.either("None", None, readers.text),
        "folder and beginning of the names of the simulated frames",
        default=None,
    )
    format: str = _key(
        _SIMULATION,
        readers.choice("edf", "bliss", "bliss-links"),
        "format of the frames: edf; bliss, an HDF5 master with virtual datasets; bliss-links, with external "
        "links",
        default="edf",
    )
    detx_size: int = _key(
        _SIMULATION, readers.count, "width of the simulated detector", unit="px", default=2048
    )
    detz_size: int = _key(
        _SIMULATION, readers.count, "height of the simulated detector", unit="px", default=2048
    )
    ang_types: tuple[str, ...] = _key(
        _SIMULATION,
        readers.list_of(readers.word, 3),
        "motors of tilt1, tilt2 and omega in the headers; none for a tilt of one position",
        default=("phi_upper", "phi_lower", "Omega"),
    )
    ang_steps: tuple[int, ...] = _key(
        _SIMULATION,
        readers.list_of(readers.count, 3),
        "number of positions of tilt1, tilt2, omega",
        default=(7, 7, 60),
    )
    ang_min: tuple[float, ...] = _key(
        _SIMULATION, _XYZ, "first positions", unit="deg", default=(-0.105, -0.105, 0.0)
    )
    ang_max: tuple[float, ...] = _key(
        _SIMULATION, _XYZ, "last positions", unit="deg", default=(0.105, 0.105, 354.0)
    )
    ang_mean: tuple[float, ...] = _key(
        _SIMULATION,
        readers.list_of(readers.real, 2),
        "tilts at which the middle of the grain diffracts",
        unit="deg",
        default=(0.0, 0.0),
    )
    ang_width: tuple[float, ...] = _key(
        _SIMULATION,
        readers.list_of(readers.not_negative, 2),
        "largest deviation from ang_mean inside the grain",
        unit="deg",
        default=(0.05, 0.05),
    )
    sim_grain: tuple[float, ...] | None = _key(
        _SIMULATION,
        readers.either("auto", None, readers.list_of(readers.positive, 3)),
        "semi-axes of the grain; auto: 0.4 of grain_dim",
        unit="um",
        default=None,
    )
    sim_strain: float = _key(
        _SIMULATION,
        readers.not_negative,
        "axial strain at the ends of the grain, along a gradient; for `scan strain`",
        default=0.0,
    )
    sim_subgrains: int = _key(_SIMULATION, readers.count, "number of subgrains", default=4)
    sim_points: int = _key(
        _SIMULATION, readers.ranged(readers.integer, 1000), "points that sample the grain", default=200_000
    )
    sim_counts: float = _key(
        _SIMULATION,
        readers.positive,
        "photons where the ray along the longest diameter diffracts with all its length",
        unit="counts",
        default=400.0,
    )
    sim_detector: str = _key(
        _SIMULATION,
        readers.choice("ideal", "pco"),
        "ideal: counts are photons, with sim_offset and sim_read_noise; pco: the camera of ID03, with its "
        "gain, offset, noise, warm and hot pixels, bright rows at the edge",
        default="ideal",
    )
    sim_exposure: float = _key(
        _SIMULATION,
        readers.positive,
        "exposure, on which offset and noise of pco depend",
        unit="s",
        default=0.5,
    )
    sim_offset: float = _key(
        _SIMULATION, readers.not_negative, "dark level of the detector", unit="counts", default=100.0
    )
    sim_read_noise: float = _key(
        _SIMULATION, readers.not_negative, "rms of the read noise", unit="counts", default=2.0
    )
    sim_background: str | None = _key(
        _SIMULATION,
        readers.either("None", None, readers.text),
        "folder and beginning of the names of the background frames; in BLISS files these are entry 1.1, "
        "whatever the name",
        default=None,
    )
    sim_background_frames: int = _key(_SIMULATION, readers.count, "number of background frames", default=10)
    sim_jitter: float = _key(
        _SIMULATION,
        readers.ranged(readers.real, 0, 0.25),
        "jitter of the motors, in steps (largest deviation)",
        default=0.0,
    )
    sim_center_offset: tuple[float, ...] = _key(
        _SIMULATION,
        readers.list_of(readers.real, 2),
        "image of the rotation axis, from the middle of the detector",
        unit="px",
        default=(0.0, 0.0),
    )
    sim_drift: float = _key(
        _SIMULATION,
        readers.not_negative,
        "rms shift of the images of an omega along each axis",
        unit="px",
        default=0.0,
    )
    sim_seed: int = _key(
        _SIMULATION, readers.ranged(readers.integer, 0), "seed of the random numbers", default=0
    )

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        return Path(self.output or self.path)

    def geometry(self) -> Geometry:
        """The geometry that these keys describe, with the rotation axis at pixel (0, 0)."""
        tilt_deg = self.t_z if self.mode == "horizontal" else self.t_x
        return Geometry(
            mode=self.mode,
            theta_rad=bragg_angle(self.unit_cell, self.hkl, self.wavelength),
            magnification=self.M,
            xyz_up_um=_three(self.xyz_up),
            xyz_lo_um=_three(self.xyz_lo),
            xyz_th_um=_three(self.xyz_th),
            detector_tilt_rad=None if tilt_deg is None else math.radians(tilt_deg),
            orientation=(self.o11, self.o12, self.o21, self.o22),
        )


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z


_AUTO = (
    "rock_width roll_width strain_width subsets memory threshold background "
    "scan tilt_frame tilt_zero strain_zero sim_grain"
)
AUTO_KEYS = tuple(_AUTO.split())
KEYS: dict[str, Field[Any]] = {key.name: key for key in fields(Parameters)}
