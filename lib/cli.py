"""The command line: arguments in, one clear line and an exit code out, the same on every rank."""

from __future__ import annotations

import argparse
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .errors import Recon3DError
from .parallel import Comm, SerialComm, abort, world

_EXIT_ERROR = 1


def getdata(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of getdata.py; returns the exit code."""
    return _run("getdata", _getdata_parser(), _getdata, argv, comm)


def recon3d(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d.py; returns the exit code."""
    return _run("recon3d", _initfile_parser("recon3d", _RECON3D), _recon3d, argv, comm)


def simulate(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d-simulate; returns the exit code."""
    return _run("simulate", _initfile_parser("simulate", _SIMULATE), _simulate, argv, comm)


def compare(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d-compare; returns the exit code."""
    return _run("compare", _initfile_parser("compare", _COMPARE), _compare, argv, comm or SerialComm())


def check_geometry(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d-check; returns the exit code."""
    return _run("check", _initfile_parser("check", _CHECK), _check_geometry, argv, comm)


_RECON3D = "Reconstruct a grain in 3D from the array that getdata made."
_SIMULATE = "Write the detector files of a simulated scan of a phantom grain, and the truth."
_CHECK = "Try the signs, flips and tilt frames of the geometry on a scan, and say which fit."
_COMPARE = "Compare a reconstruction of simulated files with the truth, in numbers and pictures."


def _run(
    program: str,
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace, Comm], None],
    argv: Sequence[str] | None,
    comm: Comm | None,
) -> int:
    """Parse on rank 0, work on all ranks, and turn errors into one line and an exit code."""
    try:
        comm = world() if comm is None else comm
    except Recon3DError as error:
        return _fail(program, str(error), "")
    options, code = _parse(parser, argv) if comm.rank == 0 else (None, 0)
    options, code = comm.bcast((options, code))
    if options is None:
        return code
    try:
        work(options, comm)
    except Recon3DError as error:  # all ranks have agreed on it
        if comm.rank == 0:
            return _fail(program, str(error), traceback.format_exc() if options.debug else "")
        return _EXIT_ERROR
    except KeyboardInterrupt:
        code = _fail(program, "interrupted", "")
        abort(comm)
        return code
    except BrokenPipeError:
        return _EXIT_ERROR
    except Exception as error:
        if comm.rank == 0:
            what = " ".join(str(error).split()) or type(error).__name__
            where = f"{type(error).__name__}: " if not isinstance(error, OSError) else ""
            _fail(program, where + what, traceback.format_exc() if options.debug else "")
        return _EXIT_ERROR
    return 0


def _fail(program: str, line: str, trace: str) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"{trace}{program}: error: {line}\n")
    sys.stderr.flush()
    return _EXIT_ERROR


def _parse(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[argparse.Namespace | None, int]:
    try:
        return parser.parse_args(argv), 0
    except SystemExit as stop:
        return None, int(stop.code or 0)


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"Recon3D {__version__}")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _initfile_parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = _parser(program, description)
    parser.add_argument("initfile", help="init file, see examples/init_example.txt")
    return parser


def _pair(text: str) -> tuple[int, int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' must be two whole numbers, such as 512,512") from None
    return first, second


def _getdata_parser() -> argparse.ArgumentParser:
    parser = _parser("getdata", "Gather the .edf files of a topo-tomography scan into one array.")
    add = parser.add_argument
    add("datadir", help="folder of the .edf files")
    add("dataname", help="beginning of their names")
    add("bgdir", help="folder of the background files, - for none")
    add("bgname", help="beginning of their names, - for none")
    add("poi", type=_pair, help="centre of the region of interest, x,y (x along Dim_1)")
    add("imgsize", type=_pair, help="size of the region of interest, w,h")
    add("outputpath", help="folder for the output folder")
    add("outputdirname", help="name of the output folder")
    add("--setup", default="auto", choices=("auto", "id06-2016", "id06-2017", "simulated"))
    for role in ("tilt1", "tilt2", "omega"):
        add(f"--{role}", metavar="MOTOR", help=f"motor of {role}, instead of the set-up's")
    add("--tilt-frame", choices=("sample", "lab"), help="tilts above omega, or below it and fixed in the lab")
    add("--phi0", type=float, metavar="DEG", help="zero of phi for the pseudo-motor gamma")
    add("--chi0", type=float, metavar="DEG", help="zero of chi for the pseudo-motor gamma")
    add("--tolerance", type=float, metavar="DEG", help="read-back values closer than this are one position")
    add("--background", default="mean", choices=("mean", "median"))
    add("--dtype", default="uint16", choices=("uint16", "float32"))
    add("--no-clip", action="store_true", help="keep negative values (with --dtype float32)")
    add("--duplicates", default="error", choices=("error", "first", "last", "mean"))
    add("--overwrite", action="store_true", help="replace an existing result")
    return parser


def _getdata(options: argparse.Namespace, comm: Comm) -> None:
    from . import acquire
    from .motors import RoleOptions

    roles = RoleOptions(
        options.setup,
        options.tilt1,
        options.tilt2,
        options.omega,
        options.tilt_frame,
        options.phi0,
        options.chi0,
    )
    params = acquire.GetdataParameters(
        **{
            name: getattr(options, name)
            for name in (
                "datadir",
                "dataname",
                "bgdir",
                "bgname",
                "poi",
                "imgsize",
                "outputpath",
                "outputdirname",
                "background",
                "dtype",
                "duplicates",
                "overwrite",
                "quiet",
            )
        },
        roles=roles,
        tolerance_deg=options.tolerance,
        clip=not options.no_clip,
        command=shlex.join(sys.argv),
    )
    info = acquire.run(params, comm)
    if comm.rank == 0:
        _print_lines(acquire.summary(info, params.folder))


def _recon3d(options: argparse.Namespace, comm: Comm) -> None:
    from . import reconstruct
    from .initfile import read_initfile_on_all

    params = read_initfile_on_all(Path(options.initfile), comm)
    lines = reconstruct.run(params, comm, quiet=options.quiet)
    if comm.rank == 0:
        _print_lines(lines)


def _simulate(options: argparse.Namespace, comm: Comm) -> None:
    from . import simulate as simulation
    from .initfile import read_initfile_on_all

    params = read_initfile_on_all(Path(options.initfile), comm)
    lines = simulation.run(params, comm, quiet=options.quiet)
    if comm.rank == 0:
        _print_lines(lines)


def _check_geometry(options: argparse.Namespace, comm: Comm) -> None:
    from . import check_geometry as check
    from .initfile import read_initfile_on_all

    params = read_initfile_on_all(Path(options.initfile), comm)
    lines = check.run(params, comm, quiet=options.quiet)
    if comm.rank == 0:
        _print_lines(lines)


def _compare(options: argparse.Namespace, comm: Any) -> None:
    from . import compare as comparison
    from .initfile import read_initfile_on_all

    _print_lines(comparison.run(read_initfile_on_all(Path(options.initfile), comm)))


def _print_lines(lines: list[str]) -> None:
    print("\n".join(lines), flush=True)
