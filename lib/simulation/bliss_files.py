"""A simulated scan as BLISS and LIMA write it: a master with an entry per omega, and the files of the frames.

The first entry holds the darks, if there are any. The frames of entry n.1 lie in scan000n/, compressed
one by one; the master leads to them through virtual datasets, or through external links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..frames.hdf5_file import open_hdf5
from ..getdata.motors import NONE
from ..initfile.parameters import Parameters
from ..parallel.communicator import Comm, together
from .detector import Detector, dark_frames, frames_of_omega
from .images import Simulation, step_of
from .motors import AT_REST, RING_CURRENT_MA, motor_positions

VIRTUAL, LINKS = "bliss", "bliss-links"  # values of the key format
CAMERA = "pco_ff"
FRAMES_PER_FILE = 200  # of a virtual dataset
_PLACE = f"/entry_0000/ESRF-ID03/{CAMERA}/data"  # of the frames in their file
_LATENCY_S = 0.0004

Files = list[tuple[str, int]]  # names relative to the master, and how many frames each holds


def master_path(stem: Path) -> Path:
    """The master of a stem such as raw/grain_: raw/grain.h5."""
    return stem.with_name(f"{stem.name.rstrip('_-.')}.h5")


def check(params: Parameters, stem: Path) -> None:
    """Refuse to overwrite the files of another scan."""
    if not stem.name.strip("_-."):
        raise Recon3DError(f"stem {stem}", "must end with the name of the master file, such as raw/grain")
    for path in (master_path(stem), *sorted(stem.parent.glob("scan[0-9]*"))[:1]):
        if path.exists():
            raise Recon3DError(path, "exists; remove it or choose another stem")


def write(
    simulation: Simulation, stem: Path, mine: range, comm: Comm, advance: Callable[[], None]
) -> list[str]:
    """Write the frames of this rank's omegas, then darks and master; the lines to print. Collective."""
    params, detector = simulation.params, Detector.of(simulation.params)
    first = 2 if params.sim_background else 1
    written: dict[int, tuple[Files, NDArray[np.float64]]] = {}
    with together(comm):
        for k in mine:
            positions = []
            with closing(LimaFiles(params, stem.parent, first + k)) as lima:
                for position, frame in frames_of_omega(simulation, detector, k):
                    lima.add(frame)
                    positions.append(position)
                    advance()
            written[k] = lima.files, np.array(positions)
    parts = comm.gather(written)
    with together(comm):
        if comm.rank == 0:
            darks = _write_darks(params, stem.parent, dark_frames(params, detector)) if first > 1 else []
            omegas = {k: found for part in parts for k, found in part.items()}
            _write_master(simulation, master_path(stem), darks, [omegas[k] for k in sorted(omegas)])
    last = first + simulation.axes_deg[2].size - 1
    names = f"entries {first}.1-{last}.1" + (", darks 1.1" if first > 1 else "")
    return [f"{master_path(stem)} ({names})"]


def _write_darks(params: Parameters, folder: Path, frames: Iterable[NDArray[np.uint16]]) -> Files:
    with closing(LimaFiles(params, folder, 1)) as lima:
        for frame in frames:
            lima.add(frame)
    return lima.files


class LimaFiles:
    """The files of the frames of one entry, some frames to a file; an external link can lead to one only."""

    def __init__(self, params: Parameters, folder: Path, number: int) -> None:
        self.files: Files = []
        self._folder, self._scan = folder, f"scan{number:04d}"
        self._exposure_s = params.sim_exposure
        self._most = FRAMES_PER_FILE if params.format == VIRTUAL else None
        self._file: h5py.File | None = None
        self._data: h5py.Dataset | None = None
        (folder / self._scan).mkdir()

    def add(self, frame: NDArray[np.uint16]) -> None:
        """Append a frame (y, x)."""
        if self._data is None or self._data.shape[0] == self._most:
            self._start_file(frame.shape)
        name, n = self.files[-1]
        assert self._data is not None  # noqa: S101 - for mypy
        self._data.resize(n + 1, axis=0)
        self._data[n] = frame
        self.files[-1] = name, n + 1

    def _start_file(self, shape: tuple[int, ...]) -> None:
        self.close()
        name = f"{self._scan}/{CAMERA}_{len(self.files):04d}.h5"
        self._file = file = open_hdf5(self._folder / name, "w")
        self._data = file.create_dataset(
            _PLACE, (0, *shape), np.uint16, maxshape=(None, *shape), chunks=(1, *shape),
            **hdf5plugin.Bitshuffle(),
        )  # fmt: skip
        file["entry_0000/measurement/data"] = h5py.SoftLink(_PLACE)
        file["entry_0000/measurement/acquisition/exposure_time"] = self._exposure_s
        self.files.append((name, 0))

    def close(self) -> None:
        """Close the last file."""
        if self._file is not None:
            self._file.close()


def _write_master(
    simulation: Simulation, path: Path, darks: Files, omegas: list[tuple[Files, NDArray[np.float64]]]
) -> None:
    params = simulation.params
    command = _command(simulation)
    with open_hdf5(path, "w") as root:
        root.attrs["NX_class"] = "NXroot"
        if darks:
            count = f"loopscan {sum(n for _, n in darks)} {params.sim_exposure:g}"
            _write_entry(root, "1.1", params, darks, omegas[0][1][:1], (count, {}))
        for number, (files, positions) in enumerate(omegas, start=2 if darks else 1):
            _write_entry(root, f"{number}.1", params, files, positions, command)


def _write_entry(
    root: h5py.File,
    name: str,
    params: Parameters,
    files: Files,
    positions: NDArray[np.float64],
    command: tuple[str, dict[str, Any]],
) -> None:
    """An entry: its frames, their positions (n, 3) in degrees, the title and the fscan_parameters."""
    title, parameters = command
    entry = root.create_group(name)
    entry.attrs["NX_class"] = "NXentry"
    entry["title"], entry["end_reason"] = title, "SUCCESS"
    instrument = entry.create_group("instrument")
    instrument.attrs["NX_class"] = "NXinstrument"
    instrument["machine/current"] = RING_CURRENT_MA
    camera = instrument.create_group(CAMERA)
    camera.attrs["NX_class"] = "NXdetector"
    _lead_to_frames(camera, params, files)
    camera["image"] = h5py.SoftLink("data")
    camera["acq_parameters/acq_expo_time"] = params.sim_exposure
    measurement = entry.create_group("measurement")
    measurement[CAMERA] = h5py.SoftLink(f"/{name}/instrument/{CAMERA}/data")
    for key, value in parameters.items():
        instrument[f"fscan_parameters/{key}"] = value
    rows = [AT_REST | motor_positions(params.ang_types, position) for position in positions]
    for motor in rows[0]:
        values = np.array([row[motor] for row in rows])
        instrument[f"positioners/{motor}"] = values[0]
        if np.ptp(values) > 0:
            instrument[f"{motor}/value"] = values
            if motor != parameters.get(
                "slow_motor"
            ):  # it runs through the exposure, in the middle of which it is here
                instrument[f"{motor}_center/data"] = values
            measurement[motor] = h5py.SoftLink(f"/{name}/instrument/{motor}/value")


def _lead_to_frames(camera: h5py.Group, params: Parameters, files: Files) -> None:
    """The dataset `data` of a camera: what its files hold, in a row."""
    if params.format == LINKS:
        ((name, _),) = files
        camera["data"] = h5py.ExternalLink(name, _PLACE)
        return
    size = params.detz_size, params.detx_size
    shape = (sum(n for _, n in files), *size)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_obj_track_times(False)  # else two runs differ in a date; h5py cannot say that above this level
    start = 0
    for name, n in files:
        part = h5py.h5s.create_simple(shape)
        part.select_hyperslab((start, 0, 0), (n, *size))
        layout.set_virtual(part, name.encode(), _PLACE.encode(), h5py.h5s.create_simple((n, *size)))
        start += n
    dtype, space = h5py.h5t.py_create(np.dtype(np.uint16)), h5py.h5s.create_simple(shape)
    h5py.h5d.create(camera.id, b"data", dtype, space, layout)


def _command(simulation: Simulation) -> tuple[str, dict[str, Any]]:
    """The title of an entry and its fscan_parameters: tilt1 slow, tilt2 fast, of those that were scanned.

    The motor runs through an exposure, so a scan starts half a step before its first frame.
    """
    params = simulation.params
    axes = zip(params.ang_types[:2], simulation.axes_deg[:2], strict=True)
    scanned = [(name, axis) for name, axis in axes if axis.size > 1 and name != NONE]
    t = params.sim_exposure
    if not scanned:
        return f"ct {t:g}", {}
    word = "fscan2d" if len(scanned) == 2 else "fscan"
    parameters: dict[str, Any] = {"scan_name": word, "acq_time": t}
    words = [word]
    for place, (name, axis) in zip(("slow_", "fast_") if len(scanned) == 2 else ("",), scanned, strict=True):
        step = step_of(axis)
        start = float(axis[0]) - (step / 2 if place != "slow_" else 0.0)
        words += [name, f"{start:.6g}", f"{step:.6g}", str(axis.size)]
        parameters |= {
            f"{place}motor": name,
            f"{place}start_pos": start,
            f"{place}step_size": step,
            f"{place}npoints": axis.size,
        }
    if len(scanned) == 2:
        parameters["fast_motor_mode"] = "REWIND"
    return " ".join([*words, f"{t:g}", f"{t + _LATENCY_S:g}"]), parameters
