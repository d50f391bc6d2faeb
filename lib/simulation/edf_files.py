"""A simulated scan as EDF files: one for each frame, in a shuffled order, with headers like those of ID06."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames import edf
from ..getdata.motors import SETUPS
from ..initfile.parameters import Parameters
from ..parallel.communicator import Comm, together
from .detector import Detector, dark_frames, frames_of_omega
from .images import Simulation
from .motors import AT_REST, RING_CURRENT_MA, motor_positions

HEADER_BYTES = 1536


def check(params: Parameters, frames: Path) -> None:
    """Names that are free and that cannot be taken for each other."""
    background = [Path(params.sim_background)] if params.sim_background else []
    for stem in (frames, *background):
        if not stem.name:
            raise Recon3DError(f"stem {stem}", "must end with the beginning of the names of the files")
        if stem.parent.is_dir() and any(p.name.startswith(stem.name) for p in stem.parent.glob("*.edf")):
            raise Recon3DError(f"{stem}*.edf", "files exist; remove them or choose another stem")
    for dark in background:
        if dark.parent != frames.parent:
            continue
        if dark.name.startswith(frames.name):
            raise Recon3DError("key sim_background", f"names like '{frames.name}...' would count as frames")
        if frames.name.startswith(dark.name):
            raise Recon3DError("key stem", f"names like '{dark.name}...' would count as background")


def write(
    simulation: Simulation, stem: Path, mine: range, comm: Comm, advance: Callable[[], None]
) -> list[str]:
    """Write the frames of this rank's omegas, and the background; the lines to print. Collective."""
    params, detector = simulation.params, Detector.of(simulation.params)
    n_omega = simulation.axes_deg[2].size
    n_pairs = simulation.axes_deg[0].size * simulation.axes_deg[1].size
    numbers = np.random.default_rng(params.sim_seed).permutation(n_omega * n_pairs).reshape(n_omega, n_pairs)
    with together(comm):
        for k in mine:
            frames = frames_of_omega(simulation, detector, k)
            for number, (position, frame) in zip(numbers[k], frames, strict=True):
                _write(stem, int(number), frame, _header(params, position, int(number)))
                advance()
    with together(comm):
        if comm.rank == 0:
            Path(params.sim_background or "").parent.mkdir(parents=True, exist_ok=True)
            for number, frame in enumerate(dark_frames(params, detector)):
                _write(Path(params.sim_background or ""), number, frame, _header(params, None, number))
    return [f"{stem}*.edf"]


def _write(stem: Path, number: int, frame: NDArray[np.uint16], header: dict[str, str]) -> None:
    edf.write_frame(stem.with_name(f"{stem.name}{number:05d}.edf"), frame, header)


def _header(params: Parameters, position: NDArray[np.float64] | None, number: int) -> dict[str, str]:
    """Motors and counters in paired lists; a simulated set-up in plain keys."""
    header = {"suffix": ".edf", "title": "simulated by Recon3D", "point_no": str(number), "run": "0"}
    counters = {"sec": 1.0, "srcur": RING_CURRENT_MA, "foc1": math.nan}
    motors = dict(AT_REST)
    if position is not None:
        named = motor_positions(params.ang_types, position)
        if params.ang_types == SETUPS[-1].motors:
            header |= {name: f"{value:.9g}" for name, value in named.items()}
        else:
            motors |= named
    for stem, values, digits in (("counter", counters, 6), ("motor", motors, 9)):
        header[f"{stem}_pos"] = " ".join(f"{value:.{digits}g}" for value in values.values())
        header[f"{stem}_mne"] = " ".join(values)
    return header
