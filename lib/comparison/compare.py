"""What is different in two results of one grain: before and after a load step, of two methods or halves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Recon3DError
from ..physics.geometry import plane_spacing_angstrom
from ..result import labels
from ..result.volume import Volume
from .maps import Map, between, nearest, read_inside
from .matching import KINDS, match
from .registration import Motion, register

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SAME_PLANES = 0.02  # of their spacing; a load step strains a grain by less
_HARDLY_ONE_GRAIN, _SMALL_TURN_DEG, _TURN_UNKNOWN_DEG = 0.7, 8.0, 0.5


@dataclass(frozen=True)
class Comparison:
    """What is different in the second of two results, on the voxels of the first.

    mask (n_x, n_y, n_z) is the second grain there, moved back by the motion, dice the overlap of both, 1
    where they are the same. change (2, n_x, n_y, n_z) of both tilts in degrees and its errors (None: not
    known) are less the common rotation common_deg (2,); strain_change likewise, with nothing taken off. cell
    are the labels of the second. cells is the table of `matching`. What both files do not tell is None.
    """

    first: Volume
    second: Volume
    motion: Motion
    dice: float
    mask: Mask
    tilts: Array | None
    change: Array | None
    errors: Array | None
    common_deg: Array | None
    strain_change: Array | None
    cell: NDArray[np.int32] | None
    cells: NDArray[Any] | None

    def doubts(self) -> list[str]:
        """What speaks against it, a sentence each."""
        found = []
        if self.dice < _HARDLY_ONE_GRAIN:
            found.append(
                f"the shapes overlap by a Dice of {self.dice:.2f} only: are they of one grain, with the same "
                "signs and flips of the geometry?"
            )
        turn = float(np.linalg.norm(self.motion.turn_deg))
        if turn > _SMALL_TURN_DEG:
            found.append(f"turned by {turn:.1f} deg, more than what is looked for; mount it alike")
        if self.motion.turn_error_deg.max() > _TURN_UNKNOWN_DEG:
            axis = "xyz"[int(self.motion.turn_error_deg.argmax())]
            found.append(f"shape and walls hardly tell how the volume is turned about {axis}")
        return found


def compare(first: Volume, second: Volume) -> Comparison:
    """Lay the second of two results of one grain upon the first, and say what is different.

    Raises Recon3DError where the two cannot be compared.
    """
    _refuse(first, second)
    mode = first.parameters.mode
    own, other = _map(first), _map(second)
    motion = register(own, other, mode)
    places = own.places_um(np.indices(own.mask.shape).reshape(3, -1))
    moved = motion.to_second(places)
    at, seen = other.steps(moved), other.holds(moved)

    def here(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(own.mask.shape)

    mask = here(seen & (between(other.mask.astype(np.float32), at) >= 0.5))
    tilts = change = errors = common = strain = cell = cells = None
    if own.known.any() and other.known.any():
        assert own.tilts is not None and other.tilts is not None
        middle = np.median(other.tilts[:, other.known], axis=1)[:, None]
        read = np.stack([np.where(seen, read_inside(tilt, other.known, at), np.nan) for tilt in other.tilts])
        tilts = (motion.tilts_to_first(mode, read - middle) + middle).reshape(2, *own.mask.shape)
        tilts[:, ~own.known] = np.nan
        change = tilts - own.tilts
    if change is not None and not np.isfinite(change).any():  # they share no voxel of known orientation
        tilts = change = None
    if change is not None:
        common = np.nanmedian(change[:, own.known], axis=1)
        change -= common[:, None, None, None]
        errors = _errors(first, second, at)
    if "strain" in first.fields and "strain" in second.fields:
        known = other.mask & np.isfinite(second.fields["strain"])
        moved_strain = np.where(seen, read_inside(second.fields["strain"], known, at), np.nan)
        strain = np.where(own.mask, here(moved_strain) - first.fields["strain"], np.nan)
    if "cell" in second.fields:
        cell = np.where(mask, here(nearest(second.fields["cell"], at)), 0).astype(np.int32)
    if cell is not None and change is not None and "cell" in first.fields:
        certain = here(other.certain(moved, 0.0))
        both = np.where(certain, first.fields["cell"], 0), cell
        sizes = [_volumes(grain) for grain in (first, second)]
        cells = match(both, (sizes[0], sizes[1]), float(np.prod(first.spacing_um)), change, errors)
    return Comparison(
        first,
        second,
        motion,
        _dice(own, other, motion, mask, moved),
        mask,
        tilts,
        change,
        errors,
        common,
        strain,
        cell,
        cells,
    )


def _refuse(first: Volume, second: Volume) -> None:
    """Raise Recon3DError where no number would mean anything."""
    for name, grain in (("first", first), ("second", second)):
        if not grain.mask.any():
            raise Recon3DError(f"the {name} result", "has no grain; nothing can be compared")
    modes = first.parameters.mode, second.parameters.mode
    if modes[0] != modes[1]:
        raise Recon3DError("key mode", f"is {modes[0]} and {modes[1]}; their sample frames are not the same")
    planes = [plane_spacing_angstrom(v.parameters.unit_cell, v.parameters.hkl) for v in (first, second)]
    if abs(planes[0] / planes[1] - 1.0) > _SAME_PLANES:
        hkl = " and ".join(str(list(v.parameters.hkl)).replace(" ", "") for v in (first, second))
        raise Recon3DError(
            "key hkl",
            f"is {hkl}, planes {planes[0]:.4g} and {planes[1]:.4g} Angstrom apart; two reflections see "
            "different rotations: compare results of the same one",
        )


def _map(grain: Volume) -> Map:
    """What is registered of a result."""
    tilts = np.stack([grain.fields["tilt1"], grain.fields["tilt2"]])
    told = grain.attributes.get("scan") != "strain" and np.isfinite(tilts).all(axis=0).any()
    first_um = np.array([axis[0] for axis in grain.axes_um])
    cell = grain.fields.get("cell")
    return Map(grain.mask, first_um, np.asarray(grain.spacing_um), tilts if told else None, cell)


def _errors(first: Volume, second: Volume, at: Array) -> Array | None:
    """Errors (2, n_x, n_y, n_z) of the change, from those that both results state."""
    own, other = (labels.stated_errors(v.fields, v.parameters.method) for v in (first, second))
    if own is None or other is None:
        return None
    known = [second.mask & np.isfinite(error) for error in other]
    moved = [read_inside(error, inside, at) for error, inside in zip(other, known, strict=True)]
    return np.stack([np.hypot(a, b.reshape(a.shape)) for a, b in zip(own, moved, strict=True)])


def _volumes(grain: Volume) -> Array:
    """Volumes of all cells in um^3, from 1."""
    cell = grain.fields["cell"]
    return np.asarray(np.bincount(cell.ravel())[1:] * float(np.prod(grain.spacing_um)), dtype=np.float64)


def _dice(own: Map, other: Map, motion: Motion, mask: Mask, moved: Array) -> float:
    """Dice coefficient of both grains, where no box cuts off the other one."""
    voxel_um3, other_um3 = (float(np.prod(grain.spacing_um)) for grain in (own, other))
    judged = other.certain(moved, 0.0).reshape(own.mask.shape)
    first_um3 = voxel_um3 * np.count_nonzero(own.mask & judged)
    back = motion.to_first(other.places_um(np.stack(np.nonzero(other.mask))))
    second_um3 = other_um3 * np.count_nonzero(own.certain(back, 0.0))
    shared_um3 = voxel_um3 * np.count_nonzero(own.mask & mask)
    return min(2.0 * shared_um3 / (first_um3 + second_um3), 1.0) if shared_um3 else 0.0


def field_of_change(found: Comparison) -> Volume:
    """The change as a volume on the voxels of the first, for ParaView, silx view and Python."""
    first, motion = found.first, found.motion
    fields: dict[str, NDArray[Any]] = {name: first.fields[name] for name in ("tilt1", "tilt2")}
    if found.change is not None:
        fields["tilt1_change"], fields["tilt2_change"] = found.change
        fields["change"] = np.hypot(*found.change)
    if found.strain_change is not None:
        fields["strain_change"] = found.strain_change
    if "cell" in first.fields:
        fields["cell"] = first.fields["cell"]
    if found.cell is not None:
        fields["cell_second"] = found.cell
    fields["mask_second"] = found.mask.astype(np.int32)
    facts: dict[str, Any] = {
        "scan": first.attributes.get("scan", "unknown"),
        "dice": found.dice,
        "shift_um": motion.shift_um,
        "shift_error_um": motion.shift_error_um,
        "turn_deg": motion.turn_deg,
        "turn_error_deg": motion.turn_error_deg,
        "turned_about_um": motion.centre_um,
    }
    if found.common_deg is not None:
        facts["common_rotation_deg"] = found.common_deg
    return replace(first, fields=fields, attributes=facts, warnings=found.doubts())


def summary(found: Comparison) -> dict[str, str]:
    """The comparison in some lines: label and text."""
    motion = found.motion
    sizes = [v.mask.sum() * float(np.prod(v.spacing_um)) for v in (found.first, found.second)]
    lines = {
        "shape": f"Dice {found.dice:.3f}, volume {sizes[0]:.4g} -> {sizes[1]:.4g} um^3 "
        f"({100 * (sizes[1] / sizes[0] - 1):+.1f} %)",
        "shift": f"{_numbers(motion.shift_um, '.3f')} um along x, y, z, +- {motion.shift_error_um.max():.2g}",
        "turn": f"{_numbers(motion.turn_deg, '.3f')} deg about x, y, z, +- {motion.turn_error_deg.max():.2g}",
    }
    if found.change is not None and found.common_deg is not None:
        size = np.hypot(*found.change)
        size = size[np.isfinite(size)]
        lines["orientation"] = (
            f"turned in common by tilt1 {found.common_deg[0]:+.4f}, tilt2 {found.common_deg[1]:+.4f} deg"
        )
        stated = ""
        if found.errors is not None:
            variance = (found.errors**2).sum(axis=0)
            # the median length of normal vectors in two dimensions
            stated = f"; {np.sqrt(np.log(2) * np.nanmedian(variance)):.2g} by the stated errors alone"
        lines["change"] = (
            f"{np.median(size):.4f} deg (median), {np.percentile(size, 95):.4f} (95 %) beyond that{stated}"
        )
    else:
        lines["orientation"] = "not compared: no voxel has both tilts in both files"
    if found.strain_change is not None and np.isfinite(found.strain_change).any():
        low, middle, high = np.nanpercentile(found.strain_change, [5, 50, 95])
        lines["strain"] = f"{middle:+.2e} ({low:.2e}..{high:.2e}), median (5 % .. 95 %) of the change"
    if found.cells is not None:
        lines["cells"] = cells_line(found.cells)
    else:
        lines["cells"] = "not compared: not both files have cells; recon3d-cells finds them"
    return lines


def cells_line(rows: NDArray[Any]) -> str:
    """What became of the cells, in a line."""
    kinds = rows["kind"]
    counts = {kind: int((kinds == kind).sum()) for kind in KINDS}
    counts["split"] = np.unique(rows["cell_1"][kinds == "split"]).size
    counts["merge"] = np.unique(rows["cell_2"][kinds == "merge"]).size
    words = {"pair": "in pairs", "split": "split up", "merge": "merged from several", "mixed": "links mixed"}
    text = ", ".join(f"{n} {words.get(kind, kind)}" for kind, n in counts.items() if n or kind == "pair")
    pairs = rows[kinds == "pair"]
    if not pairs.size:
        return text
    grown = 100 * (pairs["volume_2_um3"] / pairs["volume_1_um3"] - 1)
    return (
        f"{text}; of pairs (median) {np.nanmedian(pairs['change_deg']):.2g} deg turned, "
        f"{np.median(grown):+.2g} % of the volume"
    )


def _numbers(values: Array, form: str) -> str:
    return ", ".join(format(value + 0.0, f"+{form}") for value in values)
