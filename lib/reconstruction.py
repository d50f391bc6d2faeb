"""The workflow of recon3d.py: array and init file to the grain in 3D, on any number of ranks."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import chain

import numpy as np

from .backprojection import sweep
from .backprojection import warmup as backprojection_warmup
from .checks import trust
from .checks import warmup as checks_warmup
from .checks.trust import Checks
from .initfile.parameters import Parameters
from .mlem import iterate
from .mlem import warmup as mlem_warmup
from .parallel.claim import Claim, claimed
from .parallel.communicator import Comm, SerialComm, together
from .parallel.crew import Crew, help_out
from .parallel.memory import check_memory
from .parallel.messages import broadcast
from .projection.jit import load_compiler
from .result import files
from .result.derived import add_derived, take_out_strain
from .scan.align import align
from .scan.gather import NOTHING, Result
from .scan.setting import Setting, prepare
from .scan.warmup import compile_once

METHODS = {
    "mlem": iterate.reconstruct,
    "backprojection": sweep.backproject,
    "rocking": sweep.fit_rocking_curves,
}
_BYTES_PER_VOXEL = 96  # of the result on rank 0, at least: twelve fields
WARMUPS = {
    "mlem": mlem_warmup.small_calls,
    "backprojection": backprojection_warmup.small_calls,
    "rocking": backprojection_warmup.small_calls_of_rocking,
}


def run(
    params: Parameters,
    comm: Comm,
    *,
    quiet: bool = False,
    report: bool = True,
    quality: str | None = None,
) -> list[str]:
    """Reconstruct and write the result; returns the lines to print, on rank 0.

    Without a report the result is not checked against the images either. quality counts more than the
    init file's.
    """
    params = replace(params, quality=quality or params.quality)
    times = {"preparation": time.monotonic()}
    setting = _prepare_on_all(params, comm, quiet=quiet, report=report)
    with claimed(files.claimed_file(params.folder), comm) as claim:
        return _run(setting, comm, claim, times, quiet=quiet, report=report)


def _run(
    setting: Setting,
    comm: Comm,
    claim: Claim | None,
    times: dict[str, float],
    *,
    quiet: bool,
    report: bool,
) -> list[str]:
    """The work, which only one run at a time does for a result."""
    setting = align(setting.remembering(), comm, quiet=quiet)
    with together(comm):
        if comm.rank == 0:
            _check_memory_of_volume(setting)
    for warning in setting.warnings if comm.rank == 0 else ():
        print(f"recon3d: warning: {warning}", file=sys.stderr)

    times["reconstruction"] = time.monotonic()
    result = solve(setting, comm, quiet=quiet)

    found = Checks()
    if report:
        times["checks"] = time.monotonic()
        found = trust.check(setting, result, comm, quiet=quiet)

    printed: list[str] = []
    with together(comm):
        if claim is None:
            files.load_writers(report=report)
            help_out(comm)
            return printed
        with Crew(comm) as crew:  # whatever fails on rank 0 from here on, the others wait to be let go
            claim.confirm()
            lines = files.summary(setting, result, comm.size, _seconds(times))
            files.write(setting, result, found, lines, crew, report=report)
            printed = files.printed(setting, lines, report=report)
    return printed


def _check_memory_of_volume(setting: Setting) -> None:
    """Refuse a volume whose fields do not fit beside this rank, which is the one that holds them."""
    shape = setting.projector.volume.shape
    check_memory(
        SerialComm(),
        _BYTES_PER_VOXEL * setting.projector.volume.n_voxels,
        "grain_steps",
        f"the result of {' x '.join(map(str, shape))} voxels",
        "take fewer voxels, or a node with more memory",
    )


def _prepare_on_all(params: Parameters, comm: Comm, *, quiet: bool, report: bool) -> Setting:
    """The setting, which rank 0 works out, with the kernels of the run. Collective."""
    prepared: Setting | None = None
    with together(comm):
        if comm.rank == 0:
            prepared = prepare(params)
            files.check_folder(params.folder)
            _check_memory_of_volume(prepared)
        else:
            load_compiler()
    setting: Setting = broadcast(comm, prepared)  # type: ignore[assignment]
    calls_of_checks = checks_warmup.small_calls(setting) if report else ()
    compile_once(chain(WARMUPS[params.method](setting), calls_of_checks), comm, quiet=quiet)
    return setting


def solve(setting: Setting, comm: Comm, *, quiet: bool = False) -> Result:
    """The result of the method that the init file asks for, on rank 0; nothing elsewhere. Collective.

    A measurement that holds two scans gives the orientation from the first and the strain from the second.
    """
    results = [METHODS[setting.params.method](part, comm, quiet=quiet) for part in setting.parts()]
    with together(comm):  # the others wait for the cells asleep
        return _put_together(setting, results) if comm.rank == 0 else NOTHING


def _put_together(setting: Setting, results: list[Result]) -> Result:
    """The result of the scans of a measurement, with what is derived from it."""
    params = setting.params
    theta_rad, parts = params.geometry().theta_rad, setting.measurement.parts()
    fields, mask, facts = results[0]
    for measurement, (more, other, its_facts) in zip(parts[1:], results[1:], strict=True):
        add_derived(measurement, more, other, theta_rad, params.strain_zero)
        for name in ("strain", "strain_std"):
            fields[name] = np.where(mask & other, more[name], np.nan)
        if params.method == "mlem":  # backprojection fits an offset of mu to each voxel
            take_out_strain(parts[0], fields, fields["strain"], fields["strain_std"], theta_rad)
        facts |= {f"strain_{name.removeprefix('strain_')}": value for name, value in its_facts.items()}
    add_derived(parts[0], fields, mask, theta_rad, params.strain_zero)
    return files.with_cells(setting, Result(fields, mask, facts))


def _seconds(started: dict[str, float]) -> dict[str, float]:
    """What each stage took, from when it started; the last one ends now."""
    ends = [*list(started.values())[1:], time.monotonic()]
    return {name: end - start for (name, start), end in zip(started.items(), ends, strict=True)}
