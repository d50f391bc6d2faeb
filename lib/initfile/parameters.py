"""What an init file may say: every key declared once, with reader, unit, meaning and default."""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..physics.geometry import MODES, TILT_FRAMES, Geometry, bragg_angle, voxel_axis
from ..physics.scan_types import SCANS
from . import readers
from .simulation_keys import SIMULATION, XYZ, SimulationKeys, key

Array = NDArray[np.float64]

_SAMPLE, _MICROSCOPE, _VOLUME = "Sample and beam", "Microscope", "Volume"
_RECONSTRUCTION, _FILES = "Reconstruction", "Files"
_ORIGIN = (0.0, 0.0, 0.0)
QUALITIES = ("quick", "normal", "fine")
_QUICK_PX = 3.0  # width of a voxel of a quick look, at least
_QUICK_VOXELS = 125_000  # at most


@dataclass(frozen=True, kw_only=True)
class Parameters(SimulationKeys):
    """The contents of an init file. Lengths in micrometres, angles in degrees, as in the file."""

    path: str = key(_FILES, readers.text, "folder of dataarray.npy, made by getdata.py; result goes here too")
    output: str | None = key(
        _FILES, readers.either("None", None, readers.text), "another folder for the result", default=None
    )

    unit_cell: tuple[float, ...] = key(
        _SAMPLE,
        readers.list_of(readers.positive, 6),
        "cell of the crystal [a,b,c,alpha,beta,gamma]",
        unit="A, deg",
    )
    hkl: tuple[int, ...] = key(
        _SAMPLE, readers.list_of(readers.integer, 3), "the measured reflection [h,k,l]"
    )
    wavelength: float = key(_SAMPLE, readers.positive, "wavelength of the beam", unit="A")
    sg_no: int | None = key(
        _SAMPLE,
        readers.either("None", None, readers.ranged(readers.integer, 1, 230)),
        "space group number; for the record",
        default=None,
    )

    M: float = key(
        _MICROSCOPE, readers.positive, "magnification: detector pixels per um of sample", unit="px/um"
    )
    mode: str = key(_MICROSCOPE, readers.choice(*MODES), "plane of scattering", default="horizontal")
    t_x: float | None = key(
        _MICROSCOPE,
        readers.either("None", None, readers.real),
        "detector tilt about x (vertical mode); None: normal to the diffracted beam",
        unit="deg",
        default=None,
    )
    t_y: float | None = key(
        _MICROSCOPE,
        readers.either("None", None, readers.real),
        "detector turn about the beam; must be 0 or None",
        unit="deg",
        default=None,
    )
    t_z: float | None = key(
        _MICROSCOPE,
        readers.either("None", None, readers.real),
        "detector tilt about z (horizontal mode); None: normal to the diffracted beam",
        unit="deg",
        default=None,
    )
    xyz_up: tuple[float, ...] = key(
        _MICROSCOPE, XYZ, "focus point of the upper tilt", unit="um", default=_ORIGIN
    )
    xyz_lo: tuple[float, ...] = key(
        _MICROSCOPE, XYZ, "focus point of the lower tilt", unit="um", default=_ORIGIN
    )
    xyz_th: tuple[float, ...] = key(
        _MICROSCOPE, XYZ, "focus point of the base tilt theta", unit="um", default=_ORIGIN
    )
    detector_center: tuple[float, ...] | str | None = key(
        _MICROSCOPE,
        readers.maybe(
            readers.either("auto", "auto", readers.either("None", None, readers.list_of(readers.real, 2)))
        ),
        "image of the rotation axis [cx,cy] in the ROI; None: its middle; auto: from the data",
        unit="px",
        default=(),
    )
    drift: str = key(
        _MICROSCOPE,
        readers.choice("none", "correct"),
        "correct: shift the images of each omega to where the rotation says that they belong",
        default="none",
    )
    o11: int = key(
        _MICROSCOPE,
        readers.ranged(readers.integer, -1, 1),
        "flip of the image: px_x = cx + o11 x + o12 z",
        default=1,
    )
    o12: int = key(_MICROSCOPE, readers.ranged(readers.integer, -1, 1), "(see o11)", default=0)
    o21: int = key(
        _MICROSCOPE,
        readers.ranged(readers.integer, -1, 1),
        "flip of the image: px_y = cy + o21 x + o22 z",
        default=0,
    )
    o22: int = key(_MICROSCOPE, readers.ranged(readers.integer, -1, 1), "(see o21)", default=1)
    rock_width: float | None = key(
        _MICROSCOPE,
        readers.either("auto", None, readers.not_negative),
        "FWHM of the resolution in the rocking direction; 0: ignore; auto: from the data",
        unit="deg",
        default=None,
    )
    roll_width: float | None = key(
        _MICROSCOPE,
        readers.either("auto", None, readers.not_negative),
        "FWHM of the resolution in the rolling direction; 0: ignore; auto: from the data",
        unit="deg",
        default=None,
    )
    tails: float | None = key(
        _MICROSCOPE,
        readers.either("auto", None, readers.ranged(readers.real, 0, 1)),
        "share of a Lorentzian in the resolution, a Gaussian but for its tails; auto: from the data",
        default=None,
    )
    rock_box: str = key(
        _MICROSCOPE,
        readers.choice("auto", "true", "false", "mu"),
        "true: tilt1 moves by a step while a frame is taken (mu: mu does); auto: as files or data say",
        default="auto",
    )
    roll_slope: tuple[float, float] | None = key(
        _MICROSCOPE,
        readers.either("auto", None, readers.slope),
        "how the accepted roll moves along x and y of the images; 0: it does not; auto: from the data",
        unit="deg/um",
        default=None,
    )

    strain_width: float | None = key(
        _MICROSCOPE,
        readers.either("auto", None, readers.not_negative),
        "FWHM of the resolution in 2theta; 0: ignore; auto: from the data",
        unit="deg",
        default=None,
    )

    grain_pos: tuple[float, ...] | None = key(
        _VOLUME,
        readers.maybe(readers.either("auto", None, XYZ)),
        "middle of the volume; auto: that of the grain, from the data; not given beside grain_dim: [0,0,0]",
        unit="um",
        default=(),
    )
    grain_dim: tuple[float, ...] = key(
        _VOLUME,
        readers.maybe(readers.either("auto", (), readers.list_of(readers.positive, 3))),
        "full size of the volume; auto: the grain's, with a margin",
        unit="um",
        default=(),
    )
    grain_steps: tuple[int, ...] = key(
        _VOLUME,
        readers.maybe(readers.either("auto", (), readers.list_of(readers.count, 3))),
        "number of voxels; auto: of about a pixel, at most 2 million",
        default=(),
    )
    quality: str = key(
        _VOLUME,
        readers.choice(*QUALITIES),
        "quick: voxels of at least 3 pixels and some 50 omegas, for a first look; fine: voxels of 0.7 pixels "
        "where grain_steps is auto",
        default="normal",
    )

    method: str = key(
        _RECONSTRUCTION,
        readers.choice("mlem", "backprojection", "rocking"),
        "how to reconstruct",
        default="mlem",
    )
    iterations: int = key(
        _RECONSTRUCTION, readers.count, "of mlem, at most; it stops when the answer stands", default=24
    )
    subsets: int | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.count),
        "of omegas in mlem; auto: about 3 omegas in each, 5 where one angle is scanned",
        default=None,
    )
    memory: float | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.not_negative),
        "that the counts of mlem may take on each node, else they are read anew in every iteration; "
        "auto: half of what is free",
        unit="GB",
        default=None,
    )
    completeness_cutoff: float = key(
        _RECONSTRUCTION,
        readers.ranged(readers.real, 0, 1),
        "share of omegas at which a voxel must be lit to count as grain",
        default=0.5,
    )
    threshold: float | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.not_negative),
        "a pixel above this is lit; auto: from the noise of the dark pixels",
        unit="counts",
        default=None,
    )
    background: tuple[float, ...] | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.list_of(readers.real)),
        "dark level on which the counts stand, one number or one for each omega; auto: from the dark pixels",
        unit="counts",
        default=None,
    )
    gain: float | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.positive),
        "counts of the array that a photon makes (the variance of light over its mean); auto: from the scan",
        unit="counts",
        default=None,
    )
    omega_scale: str = key(
        _RECONSTRUCTION,
        readers.choice("auto", "none"),
        "auto: mlem finds the brightness of each omega (beam, absorption) unless the resolution is narrower "
        "than a step; none: it is the same at all",
        default="auto",
    )
    binarize: bool = key(
        _RECONSTRUCTION, readers.boolean, "sum lit (1) and dark (0) instead of counts", default=False
    )
    cells: str = key(
        _RECONSTRUCTION,
        readers.choice("auto", "none"),
        "auto: with method mlem, find the cells, parts of the grain that differ by a step of the orientation "
        "(not in a quick look)",
        default="auto",
    )
    kernel: float = key(
        _RECONSTRUCTION,
        readers.not_negative,
        "distance within which voxels are neighbours for kam and gnd; those that share a face always are",
        unit="um",
        default=0.0,
    )
    burgers: float | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.positive),
        "length of the Burgers vector for gnd; auto: the shortest edge of the unit cell, so that a centred "
        "lattice keeps a lower bound",
        unit="A",
        default=None,
    )
    scan: str | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.choice(*SCANS)),
        "what was scanned beside omega; auto: as getdata.py found, else by the sizes of the axes",
        default=None,
    )
    tilt_frame: str | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.choice(*TILT_FRAMES)),
        "tilts above omega (sample) or fixed in the lab (lab); auto: as getdata.py found, else sample, and "
        "lab for rocking",
        default=None,
    )
    tilt_zero: tuple[float, ...] | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.list_of(readers.real, 2)),
        "motor positions [tilt1,tilt2] at which the mean orientation diffracts; auto: middle of the scan",
        unit="deg",
        default=None,
    )
    strain_zero: float | None = key(
        _RECONSTRUCTION,
        readers.either("auto", None, readers.real),
        "2theta without strain; auto: the mean of the grain",
        unit="deg",
        default=None,
    )
    projection: str = key(
        _RECONSTRUCTION,
        readers.choice("mean", "exact"),
        "geometry of the mean tilt for all tilts, or of each tilt pair (slower)",
        default="mean",
    )
    errors: str = key(
        _RECONSTRUCTION,
        readers.choice("auto", "selftest", "halves", "both", "none"),
        "of mlem: from frames simulated from the result, from halves of the omegas, or both; auto: selftest "
        "(none in a quick look)",
        default="auto",
    )
    omega_sign: int = key(
        _RECONSTRUCTION, readers.integer, "1, or -1 where the motor turns left-handed", default=1
    )
    omega_exclude: tuple[tuple[float, ...], ...] = key(
        _RECONSTRUCTION,
        readers.list_of(readers.list_of(readers.real, 2)),
        "ranges of omega to leave out [[from,to],...]",
        unit="deg",
        default=(),
    )

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        return Path(self.output or self.path)

    def __post_init__(self) -> None:
        if self.grain_dim and self.grain_pos == ():
            object.__setattr__(self, "grain_pos", _ORIGIN)

    @property
    def has_volume(self) -> bool:
        """Whether the volume is known: nothing of it is left for the scan to tell."""
        return bool(self.grain_pos and self.grain_dim and self.grain_steps)

    @property
    def n_voxels(self) -> tuple[int, ...]:
        """Number of voxels along each axis: grain_steps, fewer where quality is quick."""
        if self.quality != "quick":
            return self.grain_steps
        widest = [max(1, math.ceil(self.M * size / _QUICK_PX)) for size in self.grain_dim]
        n_voxels = [min(pair) for pair in zip(self.grain_steps, widest, strict=True)]
        shrunk = min(1.0, (_QUICK_VOXELS / math.prod(n_voxels)) ** (1 / 3))
        return tuple(math.ceil(shrunk * n) for n in n_voxels)

    @property
    def errors_by(self) -> str:
        """Where the stated errors come from: the key errors, with what auto means."""
        usual = "none" if self.quality == "quick" else "selftest"
        return usual if self.errors == "auto" else self.errors

    @property
    def voxel_um(self) -> Array:
        """Size (3,) of a voxel."""
        return np.array(self.grain_dim) / np.array(self.n_voxels)

    @property
    def axes_um(self) -> tuple[Array, Array, Array]:
        """The centres of the voxels along x, y, z."""
        grid = zip(self.grain_pos or _ORIGIN, self.grain_dim, self.n_voxels, strict=True)
        x_um, y_um, z_um = (voxel_axis(*axis) for axis in grid)
        return x_um, y_um, z_um

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
    "rock_width roll_width tails roll_slope strain_width subsets memory threshold background gain burgers "
    "scan tilt_frame tilt_zero strain_zero sim_grain grain_pos grain_dim grain_steps"
)
AUTO_KEYS = tuple(_AUTO.split())
FOUND_KEYS = ("grain_pos", "grain_dim", "grain_steps", "detector_center")  # (): not given
KEYS: dict[str, Field[Any]] = {  # those of the simulation last
    key.name: key for key in sorted(fields(Parameters), key=lambda key: key.metadata["group"] == SIMULATION)
}
