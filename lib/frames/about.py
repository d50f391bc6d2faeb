"""What a file or an entry says of its scan, beside its frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import Recon3DError


class NothingWritten(Recon3DError):
    """The scan of an entry was aborted before its first frame: nothing is wrong with the file."""


@dataclass(frozen=True)
class About:
    """What has to be told of the motors of a unit, once it is known which are used.

    remarks says by motor how its positions were found, where they are not simply read; missing by motor
    why it has no number, at some frames or at all; doubts what contradicts what. pixel_um is the
    camera's pixel, region its part of the detector as far as it is written down, n_frames the
    frames of the unit.
    """

    unit: str
    n_frames: int
    title: str = ""
    remarks: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    pixel_um: float | None = None
    region: str = ""
