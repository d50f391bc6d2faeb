"""The keys of an init file that only the simulation reads, and how any key is declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from typing import Any

from . import readers
from .readers import Value


def key(
    group: str, reader: Callable[[Value], Any], text: str, *, unit: str = "", default: Any = MISSING
) -> Any:
    """Declare a key: its group in the documentation, reader, meaning, unit and default."""
    return field(default=default, metadata={"group": group, "reader": reader, "text": text, "unit": unit})


XYZ = readers.list_of(readers.real, 3)
SIMULATION = "Simulation"


@dataclass(frozen=True, kw_only=True)
class SimulationKeys:
    """What recon3d-simulate writes. Lengths in micrometres, angles in degrees, as in the file."""

    stem: str | None = key(
        SIMULATION,
        readers.either("None", None, readers.text),
        "folder and beginning of the names of the simulated frames",
        default=None,
    )
    format: str = key(
        SIMULATION,
        readers.choice("edf", "bliss", "bliss-links"),
        "format of the frames: edf; bliss, an HDF5 master with virtual datasets; bliss-links, with external "
        "links",
        default="edf",
    )
    detx_size: int = key(
        SIMULATION, readers.count, "width of the simulated detector", unit="px", default=2048
    )
    detz_size: int = key(
        SIMULATION, readers.count, "height of the simulated detector", unit="px", default=2048
    )
    ang_types: tuple[str, ...] = key(
        SIMULATION,
        readers.list_of(readers.word, 3),
        "motors of tilt1, tilt2 and omega in the headers; none for a tilt of one position",
        default=("phi_upper", "phi_lower", "Omega"),
    )
    ang_steps: tuple[int, ...] = key(
        SIMULATION,
        readers.list_of(readers.count, 3),
        "number of positions of tilt1, tilt2, omega",
        default=(7, 7, 60),
    )
    ang_min: tuple[float, ...] = key(
        SIMULATION, XYZ, "first positions", unit="deg", default=(-0.105, -0.105, 0.0)
    )
    ang_max: tuple[float, ...] = key(
        SIMULATION, XYZ, "last positions", unit="deg", default=(0.105, 0.105, 354.0)
    )
    ang_mean: tuple[float, ...] = key(
        SIMULATION,
        readers.list_of(readers.real, 2),
        "tilts at which the middle of the grain diffracts",
        unit="deg",
        default=(0.0, 0.0),
    )
    ang_width: tuple[float, ...] = key(
        SIMULATION,
        readers.list_of(readers.not_negative, 2),
        "largest deviation from ang_mean inside the grain",
        unit="deg",
        default=(0.05, 0.05),
    )
    sim_grain: tuple[float, ...] | None = key(
        SIMULATION,
        readers.either("auto", None, readers.list_of(readers.positive, 3)),
        "semi-axes of the grain; auto: 0.4 of grain_dim, 8 if that is auto",
        unit="um",
        default=None,
    )
    sim_strain: float = key(
        SIMULATION,
        readers.not_negative,
        "axial strain at the ends of the grain, along a gradient; for `scan strain`",
        default=0.0,
    )
    sim_subgrains: int = key(SIMULATION, readers.count, "number of subgrains", default=4)
    sim_points: int = key(
        SIMULATION, readers.ranged(readers.integer, 1000), "points that sample the grain", default=200_000
    )
    sim_counts: float = key(
        SIMULATION,
        readers.positive,
        "photons where the ray along the longest diameter diffracts with all its length",
        unit="counts",
        default=400.0,
    )
    sim_detector: str = key(
        SIMULATION,
        readers.choice("ideal", "pco"),
        "ideal: counts are photons, with sim_offset and sim_read_noise; pco: the camera of ID03, with its "
        "gain, offset, noise, warm and hot pixels, bright rows at the edge",
        default="ideal",
    )
    sim_exposure: float = key(
        SIMULATION,
        readers.positive,
        "exposure, on which offset and noise of pco depend",
        unit="s",
        default=0.5,
    )
    sim_offset: float = key(
        SIMULATION, readers.not_negative, "dark level of the detector", unit="counts", default=100.0
    )
    sim_read_noise: float = key(
        SIMULATION, readers.not_negative, "rms of the read noise", unit="counts", default=2.0
    )
    sim_background: str | None = key(
        SIMULATION,
        readers.either("None", None, readers.text),
        "folder and beginning of the names of the background frames; in BLISS files these are entry 1.1, "
        "whatever the name",
        default=None,
    )
    sim_background_frames: int = key(SIMULATION, readers.count, "number of background frames", default=10)
    sim_jitter: float = key(
        SIMULATION,
        readers.ranged(readers.real, 0, 0.25),
        "jitter of the motors, in steps (largest deviation)",
        default=0.0,
    )
    sim_center_offset: tuple[float, ...] = key(
        SIMULATION,
        readers.list_of(readers.real, 2),
        "image of the rotation axis, from the middle of the detector",
        unit="px",
        default=(0.0, 0.0),
    )
    sim_drift: float = key(
        SIMULATION,
        readers.not_negative,
        "rms shift of the images of an omega along each axis",
        unit="px",
        default=0.0,
    )
    sim_seed: int = key(
        SIMULATION, readers.ranged(readers.integer, 0), "seed of the random numbers", default=0
    )
    sim_pedestal: tuple[float, ...] = key(
        SIMULATION,
        readers.list_of(readers.real, 2),
        "dark level that the background frames lack [level,change]; it changes up and down over omega",
        unit="counts",
        default=(0.0, 0.0),
    )
    sim_halo: float = key(
        SIMULATION,
        readers.not_negative,
        "light about the middle of the images that the background frames lack",
        unit="counts",
        default=0.0,
    )
    sim_pattern: float = key(
        SIMULATION,
        readers.not_negative,
        "mean of a pattern of the pixels that the background frames lack",
        unit="counts",
        default=0.0,
    )
