"""Recon3D from Python: what the scripts do, in a notebook, without MPI and without files.

>>> from recon3d_lib import load, reconstruct                                  # doctest: +SKIP
>>> grain = reconstruct("demo/array", unit_cell=[4.0495, 4.0495, 4.0495, 90, 90, 90],
...                     hkl=[2, 0, 0], wavelength=0.7293, M=6.0, method="mlem")  # doctest: +SKIP
>>> grain.tilt1[grain.mask].mean()                                             # doctest: +SKIP
>>> grain.save("grain.vtkhdf")                                                 # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from . import reconstruction
from .checks import trust
from .comparison.compare import Comparison as Comparison
from .comparison.compare import compare as compare
from .initfile.parameters import Parameters
from .initfile.parse import from_keys, read_initfile
from .parallel.communicator import SerialComm
from .result import files, volume
from .result.volume import Volume
from .scan import store
from .scan.align import align
from .scan.setting import prepare

_MEMORY = "arrays in memory"


def reconstruct(
    scan: str | Path | NDArray[Any],
    tilt1: ArrayLike | None = None,
    tilt2: ArrayLike | None = None,
    omega: ArrayLike | None = None,
    *,
    measured: ArrayLike | None = None,
    quiet: bool = True,
    **keys: Any,
) -> Volume:
    """Reconstruct a grain; the numbers are those of recon3d.py.

    Parameters
    ----------
    scan
        An init file; or a folder that getdata.py made; or the array itself, of shape (n_tilt1, n_tilt2,
        n_omega, n_x, n_y), in memory or mapped (`numpy.load(..., mmap_mode="r")`), in counts.
    tilt1, tilt2, omega
        Positions of the motors in degrees, ascending; with an array only.
    measured
        Which positions (n_tilt1, n_tilt2, n_omega) were measured, where that is not all; with an array only.
    quiet
        False shows the progress on standard error.
    **keys
        The keys of the init file, see docs/init_file.md; those given here count more than those of a file.

    Returns
    -------
    Volume
        The grain: fields of shape (n_x, n_y, n_z) by name or attribute (`grain.tilt1`, in degrees), `mask`,
        `axes_um`, `parameters`, `warnings`, and the attributes of the result such as `tilt_zero_deg` and,
        with `method="mlem"`, `misfit`. `grain.save(path)` writes it for ParaView and silx view.

    Raises
    ------
    Recon3DError
        Says in one line which key, file or array is wrong, and what would be right.
    """
    if isinstance(scan, str | Path):
        setting = prepare(_parameters(Path(scan), keys))
    else:
        arrays = store.scan_of_arrays(scan, {"tilt1": tilt1, "tilt2": tilt2, "omega": omega}, measured)
        setting = prepare(from_keys({"path": _MEMORY, **keys}, "reconstruct"), arrays)
    comm = SerialComm()
    setting = align(setting.remembering(), comm, quiet=quiet)
    result = reconstruction.solve(setting, comm, quiet=quiet)
    return files.describe(setting, result, trust.check(setting, result, comm, quiet=quiet))


def load(path: str | Path) -> Volume:
    """The grain of a file grain.vtkhdf, as `reconstruct` gave it. Raises Recon3DError."""
    return volume.read(path)


def _parameters(source: Path, keys: dict[str, Any]) -> Parameters:
    """The keys on top of those of an init file, or with the folder that holds the array."""
    if source.is_dir():
        return from_keys({"path": str(source), **keys}, "reconstruct")
    params, _ = read_initfile(source)
    return from_keys({**asdict(params), **keys}, "reconstruct") if keys else params
