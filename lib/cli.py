"""The command line: arguments in, one clear line and an exit code out, the same on every rank."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Recon3DError
from .parallel import launchers, startup
from .version import __version__

if TYPE_CHECKING:  # numpy and HDF5 are not loaded before `startup.prepare`
    from .parallel.communicator import Comm

_EXIT_ERROR = 1
_LAST_WORDS_S = 2.0  # for the one process that speaks for all
_BEGINS_LIKE_A_NUMBER = re.compile(r"-\.?\d")  # -4,20 is a value that is wrong, not an option


def getdata(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of getdata.py; returns the exit code."""
    listing = "--list" in (sys.argv[1:] if argv is None else argv)
    return _run("getdata", partial(_getdata_parser, listing), _list if listing else _getdata, argv, comm)


def recon3d(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d.py; returns the exit code."""
    return _run("recon3d", _recon3d_parser, _recon3d, argv, comm)


def simulate(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d-simulate; returns the exit code."""
    return _run("simulate", partial(_initfile_parser, "simulate", _SIMULATE), _simulate, argv, comm)


def compare(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d-compare; returns the exit code."""
    return _run("compare", _compare_parser, _compare, argv, comm)


def check_geometry(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d-check; returns the exit code."""
    return _run("check", partial(_initfile_parser, "check", _CHECK), _check_geometry, argv, comm)


def cells(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d-cells; returns the exit code."""
    return _run("cells", _cells_parser, _cells, argv, comm)


def convert(argv: Sequence[str] | None = None, comm: Comm | None = None) -> int:
    """Entry point of recon3d-convert; returns the exit code."""
    return _run("convert", _convert_parser, _convert, argv, comm)


_RECON3D = (
    "Reconstruct a grain in 3D from the array that getdata made. The init file needs path, unit_cell, hkl, "
    "wavelength and M; what the scan tells is found: the volume, the rotation axis, the resolution."
)
_SIMULATE = "Write the detector files of a simulated scan of a phantom grain, and the truth."
_CHECK = "Try the signs, flips and tilt frames of the geometry on a scan, and say which fit."
_CELLS = (
    "Find the cells of a reconstructed grain, parts that differ by a step of the orientation: writes the "
    "field cell into grain.vtkhdf, and cells.csv beside it."
)
_COMPARE = (
    "Compare two results of one grain (before and after a load step, two methods, two halves), laid upon "
    "each other; or, with an init file, a reconstruction of simulated files with the truth."
)


def _run(
    program: str,
    parser: Callable[[], argparse.ArgumentParser],
    work: Callable[[argparse.Namespace, Comm], None],
    argv: Sequence[str] | None,
    comm: Comm | None,
) -> int:
    """Parse on rank 0, work on all ranks, and turn errors into one line and an exit code."""
    if comm is None:
        startup.prepare()
    from .parallel.communicator import LeftAlone, abort, world

    options, code, said = _parse(parser(), argv)
    if options is None and code == 0:  # --help and --version do without MPI
        if launchers.rank() == 0:
            print(said, end="", flush=True)
        return code
    try:
        comm = world() if comm is None else comm
    except LeftAlone as error:
        if error.speaks:
            return _fail(program, str(error), "")
        time.sleep(_LAST_WORDS_S)  # mpirun may end all when the first one ends
        return _EXIT_ERROR
    if comm.rank == 0:
        sys.stderr.write(said)
        sys.stderr.flush()
    options, code = comm.bcast((options, code))
    if options is None:
        return code
    try:
        with _sigterm_interrupts():
            work(options, comm)
    except Recon3DError as error:  # all ranks have agreed on it
        if comm.rank == 0:
            return _fail(program, str(error), traceback.format_exc() if options.debug else "")
        return _EXIT_ERROR
    except KeyboardInterrupt:
        if comm.rank > 0:
            time.sleep(_LAST_WORDS_S)  # rank 0 cleans up, and ends all; unless it goes on
        _fail(program, "interrupted", "")
        abort(comm)
        return _EXIT_ERROR
    except BrokenPipeError:
        return _EXIT_ERROR
    except Exception as error:
        agreed = getattr(error, "agreed", False)
        if comm.rank == 0 or not agreed:
            what = " ".join(str(error).split()) or type(error).__name__
            where = f"{type(error).__name__}: " if not isinstance(error, OSError) else ""
            _fail(program, where + what, traceback.format_exc() if options.debug else "")
        if not agreed:  # the others know nothing of it and would wait for ever
            abort(comm)
        return _EXIT_ERROR
    return 0


def _fail(program: str, line: str, trace: str) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"{trace}{program}: error: {line}\n")
    sys.stderr.flush()
    return _EXIT_ERROR


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """What a batch system sends before it kills ends a run as Ctrl-C does, which cleans up."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _parse(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[argparse.Namespace | None, int, str]:
    """The options, or the exit code and what the parser had to say."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            given = sys.argv[1:] if argv is None else argv
            # options may stand between arguments of which some are left out
            return (parser.parse_intermixed_args if "--list" in given else parser.parse_args)(given), 0, ""
    except SystemExit as stop:
        return None, int(stop.code or 0), said.getvalue()


def _parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser._negative_number_matcher = _BEGINS_LIKE_A_NUMBER
    parser.add_argument("--version", action="version", version=f"Recon3D {__version__}")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _initfile_parser(program: str, description: str) -> argparse.ArgumentParser:
    parser = _parser(program, description)
    parser.add_argument("initfile", help="init file, see examples/init_example.txt")
    return parser


def _cells_parser() -> argparse.ArgumentParser:
    parser = _parser("cells", _CELLS)
    parser.add_argument(
        "source", metavar="INIT|grain.vtkhdf", type=Path, help="init file, or the result itself"
    )
    return parser


def _compare_parser() -> argparse.ArgumentParser:
    parser = _parser("compare", _COMPARE)
    add = parser.add_argument
    add("first", metavar="FIRST.vtkhdf|INIT", type=Path, help="a result, or the init file of a simulation")
    add("second", metavar="SECOND.vtkhdf", type=Path, nargs="?", help="another result of the same grain")
    add("--output", metavar="FOLDER", type=Path, help="where to write, if not beside the second result")
    return parser


def _recon3d_parser() -> argparse.ArgumentParser:
    parser = _initfile_parser("recon3d", _RECON3D)
    parser.add_argument("--no-report", action="store_true", help="leave out report.html and its checks")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="voxels of at least 3 pixels and some 50 omegas, for a first look (quality quick)",
    )
    return parser


def _getdata_parser(listing: bool) -> argparse.ArgumentParser:
    from .getdata import options as getdata_options

    parser = _parser("getdata", getdata_options.DESCRIPTION)
    parser.epilog = getdata_options.EPILOG
    getdata_options.add_arguments(parser, listing=listing)
    return parser


def _convert_parser() -> argparse.ArgumentParser:
    from .physics.geometry import TILT_FRAMES

    parser = _parser("convert", "Convert an array (and init file) of the 2017 programs for recon3d.py.")
    add = parser.add_argument
    add("folder", type=Path, help="folder of dataarray.npy with mu.npy, gamma.npy or alpha.npy, beta.npy")
    add("output", type=Path, help="folder to make")
    add("--initfile", type=Path, help="old init file; becomes init.txt in the new folder")
    add("--array", metavar="NAME", help="which array; default dataarray_final.npy, else dataarray.npy")
    add("--rotation-column", type=float, metavar="PX", help="second argument of the last 2017 recon3d.py")
    add("--tilt-frame", choices=TILT_FRAMES, help="lab for mu and gamma, sample for alpha and beta")
    add("--overwrite", action="store_true", help="replace an existing result")
    return parser


def _getdata(options: argparse.Namespace, comm: Comm) -> None:
    from .getdata import acquire
    from .getdata.options import parameters

    params = parameters(options)
    info = acquire.run(params, comm)
    if comm.rank == 0:
        _print_lines(acquire.summary(info, params.folder))


def _list(options: argparse.Namespace, comm: Comm) -> None:
    from .getdata import listing
    from .parallel.communicator import together

    with together(comm):
        if comm.rank == 0:
            _print_lines(listing.run(options.datadir, options.dataname, quiet=options.quiet))


def _with_initfile(
    work: Callable[..., list[str]], options: argparse.Namespace, comm: Comm, **more: Any
) -> None:
    """Read the init file, run a workflow with its parameters, print the lines that it returns."""
    from .initfile.parse import read_initfile_on_all

    params = read_initfile_on_all(Path(options.initfile), comm)
    lines = work(params, comm, quiet=options.quiet, **more)
    if comm.rank == 0:
        _print_lines(lines)


def _recon3d(options: argparse.Namespace, comm: Comm) -> None:
    from . import reconstruction

    quality = "quick" if options.quick else None
    _with_initfile(reconstruction.run, options, comm, report=not options.no_report, quality=quality)


def _simulate(options: argparse.Namespace, comm: Comm) -> None:
    from .simulation import simulate as simulation

    _with_initfile(simulation.run, options, comm)


def _check_geometry(options: argparse.Namespace, comm: Comm) -> None:
    from .checks import geometry as check

    _with_initfile(check.run, options, comm)


def _compare(options: argparse.Namespace, comm: Comm) -> None:
    from .comparison import write as comparison
    from .errors import Recon3DError
    from .initfile.parse import read_initfile_on_all
    from .parallel.communicator import together
    from .simulation import compare as beside_truth

    result = options.first.suffix == ".vtkhdf"
    if result != (options.second is not None):
        what = "is one result; give the other one too" if result else "is an init file; give it alone"
        raise Recon3DError(options.first, f"{what}: recon3d-compare FIRST.vtkhdf SECOND.vtkhdf")
    params = None if result else read_initfile_on_all(options.first, comm)
    with together(comm):
        if comm.rank == 0 and params is not None:
            _print_lines(beside_truth.run(params))
        elif comm.rank == 0:
            lines, warnings = comparison.run((options.first, options.second), options.output)
            for warning in warnings:
                print(f"compare: warning: {warning}", file=sys.stderr)
            _print_lines(lines)


def _cells(options: argparse.Namespace, comm: Comm) -> None:
    from .parallel.communicator import together
    from .result import add_cells

    with together(comm):
        if comm.rank == 0:
            _print_lines(add_cells.run(options.source))


def _convert(options: argparse.Namespace, comm: Comm) -> None:
    from . import convert as conversion
    from .parallel.communicator import together

    names = ("folder", "output", "initfile", "array", "tilt_frame", "rotation_column", "overwrite")
    chosen = {name: getattr(options, name) for name in names}
    with together(comm):
        if comm.rank == 0:
            command = shlex.join(["recon3d-convert", *sys.argv[1:]])
            _print_lines(conversion.run(conversion.Options(**chosen, command=command)))


def _print_lines(lines: list[str]) -> None:
    print("\n".join(lines), flush=True)
