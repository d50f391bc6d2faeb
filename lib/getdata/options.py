"""The command line of getdata.py."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from functools import partial

from ..frames.pixels import OUTPUT_DTYPES
from .cleaning import NORMALIZATIONS
from .motors import SETUPS, RoleOptions
from .parameters import BACKGROUNDS, DUPLICATES, GetdataParameters

DESCRIPTION = "Gather the frames of a topo-tomography scan into one array."
EPILOG = (
    "Cleaning is done in the order: duplicates, background, hot pixels, normalisation, binning, threshold. "
    "See docs/getdata.md for what each option does and when to use it."
)


def _pair(text: str) -> tuple[int, int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' must be two whole numbers, such as 512,512") from None
    return first, second


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"'{text}' must be a positive number")
    return value


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number, 1 or more")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser, *, listing: bool = False) -> None:
    """Declare the arguments and options of getdata.py; with --list only the first argument is needed."""
    add = parser.add_argument if not listing else partial(parser.add_argument, nargs="?")
    parser.add_argument(
        "--list", action="store_true", help="list the entries, or the EDF files, and do nothing else"
    )
    parser.add_argument(
        "datadir", help="folder of the EDF files; or a BLISS HDF5 file, or a folder of such files"
    )
    add(
        "dataname",
        help="beginning of the names of the EDF files; or entries of the HDF5 file: 1.1, 1.1-37.1, *.1, "
        "title:fscan2d*",
    )
    add("bgdir", help="folder of the background files, - for none")
    add("bgname", help="beginning of their names, - for none")
    add("poi", type=_pair, help="centre of the region of interest, x,y (x along Dim_1)")
    add("imgsize", type=_pair, help="size of the region of interest, w,h")
    add("outputpath", help="folder for the output folder")
    add("outputdirname", help="name of the output folder")
    _add_scan(parser)
    _add_cleaning(parser)
    _add_output(parser)


def _add_scan(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the scan").add_argument
    setups = ("auto", *dict.fromkeys(setup.name for setup in SETUPS))
    add("--setup", default="auto", choices=setups, help="names of the motors (auto: those that move)")
    for role in ("tilt1", "tilt2", "omega"):
        also = "" if role == "omega" else "; none where nothing was scanned"
        add(f"--{role}", metavar="MOTOR", help=f"motor of {role}, instead of the set-up's{also}")
    add(
        "--strain",
        metavar="MOTOR",
        help="motor of the 2theta arm, in a scan of strain (with --tilt1: of both)",
    )
    add("--tilt-frame", choices=("sample", "lab"), help="tilts above omega, or below it and fixed in the lab")
    add("--phi0", type=float, metavar="DEG", help="zero of phi for the pseudo-motor gamma")
    add("--chi0", type=float, metavar="DEG", help="zero of chi for the pseudo-motor gamma")
    add(
        "--tolerance",
        type=_positive,
        metavar="DEG",
        help="read-back values closer than this are one position (default: found from the gaps)",
    )
    add(
        "--positions",
        metavar="FILE",
        help="table of frame (or file name), tilt1, tilt2, omega, where the headers do not know",
    )
    add("--camera", metavar="NAME", help="detector, where an HDF5 entry holds frames of several")
    add(
        "--duplicates",
        default="error",
        choices=DUPLICATES,
        help="what to do with several frames at one position (default: error)",
    )
    add("--skip-bad", action="store_true", help="list torn, odd or motorless files and do without them")


def _add_cleaning(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("cleaning (all off by default)").add_argument
    add(
        "--background",
        default="mean",
        choices=BACKGROUNDS,
        help="mean or median of the background files; without such files darkest (the two darkest frames of "
        "each omega) or scan (the level of each pixel and omega, as the darkest frames of all show it)",
    )
    add(
        "--hot-pixels",
        type=_positive,
        metavar="SIGMA",
        help="replace pixels that exceed the local median by SIGMA standard deviations",
    )
    add(
        "--normalize",
        default="none",
        choices=NORMALIZATIONS,
        help="to the same ring current, or to the same intensity at every omega (grain whole in the ROI)",
    )
    add("--bin", type=_natural, default=1, metavar="N", help="mean of N x N pixels")
    add("--threshold", type=_positive, metavar="COUNTS", help="set pixels below COUNTS to 0")
    add(
        "--min-area",
        type=_natural,
        metavar="PIXELS",
        help="with --threshold: keep whole spots, holes filled and closed, of at least PIXELS pixels",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add("--dtype", default="uint16", choices=tuple(OUTPUT_DTYPES), help="of the array (default: uint16)")
    add(
        "--no-clip",
        action="store_true",
        help="keep negative values (--dtype float32; int16 keeps them anyway)",
    )
    add("--no-report", action="store_true", help="leave out getdata.html, the page with pictures of the scan")
    add("--overwrite", action="store_true", help="replace an existing result")


def parameters(options: argparse.Namespace) -> GetdataParameters:
    """The parsed arguments as GetdataParameters."""
    given = vars(options)
    names = GetdataParameters.__dataclass_fields__.keys() & given.keys()
    roles = RoleOptions(
        options.setup,
        options.tilt1,
        options.tilt2,
        options.omega,
        options.tilt_frame,
        options.phi0,
        options.chi0,
        options.strain,
    )
    return GetdataParameters(
        **{name: given[name] for name in names},
        roles=roles,
        tolerance_deg=options.tolerance,
        clip=not options.no_clip,
        report=not options.no_report,
        command=shlex.join(sys.argv),
    )
