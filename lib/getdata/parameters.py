"""What getdata.py is asked to do. The command line is read with it, so that nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .motors import RoleOptions

DUPLICATES = ("error", "first", "last", "mean")
BACKGROUNDS = ("mean", "median", "darkest", "scan")
FROM_THE_SCAN = ("darkest", "scan")  # of these, without files


@dataclass(frozen=True)
class GetdataParameters:
    """The command line of getdata.py; names are those of its arguments."""

    datadir: str
    dataname: str
    bgdir: str
    bgname: str
    poi: tuple[int, int]
    imgsize: tuple[int, int]
    outputpath: str
    outputdirname: str
    roles: RoleOptions = field(default_factory=RoleOptions)
    tolerance_deg: float | None = None
    positions: str | None = None
    camera: str | None = None
    background: str = "mean"
    normalize: str = "none"
    hot_pixels: float | None = None
    threshold: float | None = None
    min_area: int | None = None
    bin: int = 1
    dtype: str = "uint16"
    clip: bool = True
    duplicates: str = "error"
    skip_bad: bool = False
    report: bool = True
    overwrite: bool = False
    quiet: bool = False
    command: str = ""

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        return Path(self.outputpath) / self.outputdirname

    @property
    def temporary(self) -> Path:
        """Where it is made: beside the result, so that a rename suffices."""
        return self.folder.with_name(f".{self.folder.name}.part")

    @property
    def has_background_files(self) -> bool:
        """Whether bgdir and bgname name files."""
        return (self.bgdir, self.bgname) != ("-", "-")

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the result, in the order in which they appear."""
        from ..scan import store  # the command line is read without it

        return store.FILES if not self.report else (*store.FILES[:-1], store.REPORT, store.FILES[-1])
