"""The workflow of recon3d.py: array and init file to the grain in 3D, on any number of ranks.

Each rank owns a slab of voxels along the rotation axis, whose projections stay within a band of the
detector. It reads just that band, a few omegas at a time; rank 0 puts the slabs together.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import backprojection, kernels, noise, store, volume
from .backprojection import Backprojection, Block, PixelSet, Views
from .errors import Recon3DError
from .geometry import OMEGA_AXIS, roi_center, voxel_axis
from .parallel import Comm, check_alarm, receive_array, send_array, together
from .parameters import Parameters
from .partition import block, blocks_of_at_most
from .progress import Progress
from .store import ArrayFile, Scan
from .tilts import Interpolation, turn_back

Array = NDArray[np.float64]

RESULT_FILES = ("grain_ang.npy", "grain.vtkhdf")
_OMEGAS_AT_ONCE = 8  # of one pass over the sums; fixed, so that sums of floats do not depend on ranks
_SUMS_BYTES = 256 << 20  # per rank
_NOISE_FRAMES = 64


@dataclass(frozen=True)
class Setting:
    """What the init file and the scan together say, the same on every rank.

    omega_index are the omegas in use; views and turns are theirs. tilt_zero_deg is the origin of the
    sample-frame tilts; tilt_frame the frame in which the scanned tilts turn.
    """

    params: Parameters
    scan: Scan
    tilt_frame: str
    tilt_zero_deg: tuple[float, float]
    omega_index: NDArray[np.int64]
    views: Views
    turns: list[Interpolation]
    grid_um: tuple[Array, Array, Array]
    threshold: float
    warnings: list[str]


def run(params: Parameters, comm: Comm, *, quiet: bool = False) -> list[str]:
    """Reconstruct and write the result; returns the lines to print, on every rank."""
    started = time.monotonic()
    setting: Setting | None = None
    with together(comm):
        if comm.rank == 0:
            setting = prepare(params)
            _check_output(params.folder)
    setting = comm.bcast(setting)
    assert setting is not None  # noqa: S101 - rank 0 has one, or all have left
    for warning in setting.warnings if comm.rank == 0 else ():
        print(f"recon3d: warning: {warning}", file=sys.stderr)
    fields = reconstruct(setting, comm, quiet=quiet)
    lines: list[str] = []
    with together(comm):
        if comm.rank == 0:
            mask = backprojection.apply_cutoff(fields, params.completeness_cutoff)
            _write(setting, fields, mask)
            lines = _summary(setting, fields, mask, comm.size, time.monotonic() - started)
    return lines


def prepare(params: Parameters) -> Setting:
    """Read everything but the pixels and work out what holds for the whole run."""
    scan = store.read_scan(Path(params.path))
    warnings: list[str] = []
    tilt_frame = _tilt_frame(params, scan, warnings)
    omega_index = _omegas_in_use(params, scan)
    axes = (scan.tilt1_deg, scan.tilt2_deg)
    middle = tuple(float(axis[0] + axis[-1]) / 2 for axis in axes)
    zero = params.tilt_zero or middle
    omega = params.omega_sign * np.radians(scan.omega_deg[omega_index])
    mean1, mean2 = (np.radians(m - z) for m, z in zip(middle, zero, strict=True))
    names = ("phi_up", "phi_lo") if tilt_frame == "sample" else ("mu", "gamma")
    n_x, n_y = scan.shape[3:]
    center = params.detector_center or roi_center((n_x, n_y))
    geometry = params.geometry().with_center((center[0], center[1]))
    matrix, shift = geometry.sample_to_pixel(omega, **dict(zip(names, (mean1, mean2), strict=True)))
    turns = []
    if tilt_frame == "lab":
        relative = [axis - z for axis, z in zip(axes, zero, strict=True)]
        turns = [turn_back(params.mode, relative[0], relative[1], w) for w in omega]
    grid = zip(params.grain_pos, params.grain_dim, params.grain_steps, strict=True)
    x_um, y_um, z_um = (voxel_axis(*axis) for axis in grid)
    threshold = params.threshold
    if threshold is None:
        threshold = noise.auto_threshold(_noise_sample(scan, omega_index))
    return Setting(
        params,
        scan,
        tilt_frame,
        (zero[0], zero[1]),
        omega_index,
        Views(np.ascontiguousarray(matrix), np.ascontiguousarray(shift), (n_x, n_y)),
        turns,
        (x_um, y_um, z_um),
        float(threshold),
        warnings,
    )


def _tilt_frame(params: Parameters, scan: Scan, warnings: list[str]) -> str:
    found = scan.info.get("tilt_frame")
    if params.tilt_frame and found and params.tilt_frame != found:
        warnings.append(f"tilt_frame {params.tilt_frame} of the init file overrides {found} of {store.INFO}")
    tilt_frame = params.tilt_frame or found or "sample"
    if tilt_frame == "lab" and 1 in scan.shape[:2]:
        raise Recon3DError("tilt_frame", "lab needs a scan of both tilts, one of them has a single position")
    return str(tilt_frame)


def _omegas_in_use(params: Parameters, scan: Scan) -> NDArray[np.int64]:
    """Indices of the measured omegas that are not excluded."""
    used = scan.measured.any(axis=(0, 1))
    if not used.any():
        raise Recon3DError(scan.folder / store.MEASURED, "says that nothing was measured")
    for low, high in params.omega_exclude:
        used &= ~((scan.omega_deg >= low) & (scan.omega_deg <= high))
    if not used.any():
        raise Recon3DError("omega_exclude", "leaves no omega to reconstruct from")
    return np.flatnonzero(used)


def _noise_sample(scan: Scan, omega_index: NDArray[np.int64]) -> NDArray[Any]:
    """Some measured frames, spread evenly over the scan: (n, x, y)."""
    positions = np.argwhere(scan.measured[:, :, omega_index])
    chosen = positions[np.unique(np.linspace(0, len(positions) - 1, _NOISE_FRAMES).round().astype(int))]
    frames = np.empty((len(chosen), *scan.shape[3:]), dtype=scan.dtype)
    with ArrayFile(scan.folder / store.ARRAY) as array:
        for frame, (i, j, k) in zip(frames, chosen, strict=True):
            array.read_columns((i, j, omega_index[k]), 0, frame)
    return frames


def _check_output(folder: Path) -> None:
    """Find out before the work whether the result can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Recon3DError(folder, f"cannot be made ({error.strerror}); choose another output") from None
    if not os.access(folder, os.W_OK):
        raise Recon3DError(folder, "cannot be written; choose another folder with the key output")


def reconstruct(setting: Setting, comm: Comm, *, quiet: bool = False) -> dict[str, Array]:
    """The fields of the whole volume on rank 0, nothing elsewhere."""
    axis = OMEGA_AXIS[setting.params.mode]
    slabs = [block(setting.grid_um[axis].size, comm.size, rank) for rank in range(comm.size)]
    parts: list[dict[str, Array]] = []
    with together(comm):
        parts = _reconstruct_slab(setting, slabs[comm.rank], comm, quiet)
    return _gather(setting, parts, slabs, comm)


def _reconstruct_slab(setting: Setting, slab: range, comm: Comm, quiet: bool) -> list[dict[str, Array]]:
    """The fields of this rank's slab, in pieces whose sums fit into memory."""
    axis = OMEGA_AXIS[setting.params.mode]
    n_pairs = setting.scan.shape[0] * setting.scan.shape[1]
    layer = setting.params.grain_steps[axis - 1] * setting.params.grain_steps[axis - 2]
    pieces = blocks_of_at_most(slab, _SUMS_BYTES // (4 * n_pairs * layer))
    total = len(pieces) * len(setting.views)
    n_voxels = int(np.prod(setting.params.grain_steps))
    show = comm.rank == 0 and not quiet
    results = []
    with (
        ArrayFile(setting.scan.folder / store.ARRAY) as array,
        Progress("voxels", total, "voxels", overall=n_voxels, visible=show) as progress,
    ):
        for piece in pieces:
            grid = [g[piece.start : piece.stop] if i == axis else g for i, g in enumerate(setting.grid_um)]
            voxels = Block(*grid)
            pixel_dtype = np.dtype(np.float32) if setting.turns else setting.scan.dtype
            if setting.params.binarize:
                pixel_dtype = np.dtype(np.uint8)
            sums = Backprojection(voxels, n_pairs, pixel_dtype, _lit_above(setting))
            for start in range(0, len(setting.views), _OMEGAS_AT_ONCE):
                part = slice(start, start + _OMEGAS_AT_ONCE)
                views = setting.views[part]
                sums.add(views, _load(setting, array, part, backprojection.pixel_boxes(views, voxels)))
                progress.advance(len(views))
                check_alarm(comm)
            results.append(
                sums.finish(setting.scan.tilt1_deg, setting.scan.tilt2_deg, setting.omega_index.size)
            )
    return results


def _lit_above(setting: Setting) -> float:
    """The threshold on the pixels as they are summed: binarized ones are lit where they are 1."""
    return 0.5 if setting.params.binarize else setting.threshold


def _load(setting: Setting, array: ArrayFile, part: slice, boxes: NDArray[np.int64]) -> PixelSet:
    """The tilt maps of the pixels in the boxes, one omega after the other, in the sample frame."""
    n_pairs = setting.scan.shape[0] * setting.scan.shape[1]
    n_pixels = boxes[:, 2] * boxes[:, 3]
    first_row = np.concatenate([[0], np.cumsum(n_pixels)[:-1]])
    native = setting.scan.dtype.newbyteorder("=")
    flat = np.empty((int(n_pixels.sum()), n_pairs), dtype=np.float32 if setting.turns else native)
    for k, omega in enumerate(setting.omega_index[part]):
        if n_pixels[k] == 0:
            continue
        rows = flat[first_row[k] : first_row[k] + n_pixels[k]]
        if not setting.turns:
            _read_pixels(setting.scan, array, omega, boxes[k], rows)
            continue
        scanned = np.empty(rows.shape, dtype=native)
        _read_pixels(setting.scan, array, omega, boxes[k], scanned)
        turn = setting.turns[part.start + k]
        kernels.interpolate_pairs(scanned, turn.index, turn.weight, rows)
    if setting.params.binarize:
        flat = (flat > setting.threshold).astype(np.uint8)
    return PixelSet(flat, boxes, first_row)


def _read_pixels(scan: Scan, array: ArrayFile, omega: int, box: NDArray[np.int64], out: NDArray[Any]) -> None:
    """Fill out (n_pixels, n_pairs) with one omega's pixels of the box; unmeasured positions are zero."""
    x0, y0, n_x, n_y = (int(v) for v in box)
    frames = np.zeros((out.shape[1], n_x, scan.shape[4]), dtype=scan.dtype)
    for frame, (i, j) in zip(frames, np.ndindex(*scan.shape[:2]), strict=True):
        if scan.measured[i, j, omega]:
            array.read_columns((i, j, omega), x0, frame)
    kernels.transpose_frames(frames.astype(out.dtype, copy=False), y0, n_y, out)


def _gather(
    setting: Setting, parts: list[dict[str, Array]], slabs: list[range], comm: Comm
) -> dict[str, Array]:
    """Put the slabs of all ranks together on rank 0, one field and one rank at a time."""
    axis = OMEGA_AXIS[setting.params.mode]
    shape = setting.params.grain_steps
    whole: dict[str, Array] = {}
    for name in backprojection.FIELDS:
        mine = np.concatenate([part[name] for part in parts], axis=axis) if parts else np.empty(0)
        if comm.rank != 0:
            send_array(comm, np.ascontiguousarray(mine), dest=0)
            continue
        whole[name] = np.empty(shape)
        target = np.moveaxis(whole[name], axis, 0)
        for rank, slab in enumerate(slabs):
            if not slab:
                continue
            if rank > 0:
                mine = np.empty([len(slab) if i == axis else n for i, n in enumerate(shape)])
                receive_array(comm, mine, source=rank)
            target[slab.start : slab.stop] = np.moveaxis(mine, axis, 0)
    return whole


def _write(setting: Setting, fields: dict[str, Array], mask: NDArray[np.bool_]) -> None:
    """Write both files under temporary names, then rename them."""
    folder = setting.params.folder
    temporary = [folder / f".{name}.part" for name in RESULT_FILES]
    try:
        with temporary[0].open("wb") as stream:
            np.save(stream, np.stack([fields[n] for n in ("tilt1", "tilt2", "completeness")], axis=-1))
        volume.write(temporary[1], describe(setting, fields, mask))
        for part, name in zip(temporary, RESULT_FILES, strict=True):
            part.replace(folder / name)
    finally:
        for part in temporary:
            part.unlink(missing_ok=True)


def describe(setting: Setting, fields: dict[str, Array], mask: NDArray[np.bool_]) -> volume.Volume:
    """The result with its units and origin, ready to be written."""
    params = setting.params
    spacing = np.array(params.grain_dim) / np.array(params.grain_steps)
    attributes = {
        "tilt_frame_of_scan": setting.tilt_frame,
        "tilt_zero_deg": setting.tilt_zero_deg,
        "threshold_counts": setting.threshold,
        "n_omega": int(setting.omega_index.size),
        "tilt1_motor": setting.scan.info.get("motors", {}).get("tilt1", "unknown"),
        "tilt2_motor": setting.scan.info.get("motors", {}).get("tilt2", "unknown"),
    }
    return volume.Volume(
        origin_um=np.array(params.grain_pos) - np.array(params.grain_dim) / 2,
        spacing_um=spacing,
        axes_um=setting.grid_um,
        fields=fields,
        mask=mask,
        parameters=params,
        attributes=attributes,
    )


def _summary(
    setting: Setting, fields: dict[str, Array], mask: NDArray[np.bool_], n_ranks: int, seconds: float
) -> list[str]:
    params, scan = setting.params, setting.scan
    voxel_um3 = float(np.prod(np.array(params.grain_dim) / np.array(params.grain_steps)))
    n_grain = int(mask.sum())
    lines = [str(params.folder / name) for name in RESULT_FILES]
    lines.append(
        f"scan         {scan.shape[0]} x {scan.shape[1]} tilts fixed in the {setting.tilt_frame}, "
        f"{setting.omega_index.size} of {scan.shape[2]} omegas, {scan.shape[3]} x {scan.shape[4]} pixels"
    )
    voxels = " x ".join(str(n) for n in params.grain_steps)
    lines.append(f"volume       {voxels} voxels, lit above {setting.threshold:.3g} counts")
    lines.append(
        f"grain        {n_grain} voxels, {n_grain * voxel_um3:.4g} um^3 at completeness >= "
        f"{params.completeness_cutoff:g}"
    )
    if n_grain:
        spans = [np.percentile(fields[name][mask], [5, 50, 95]) for name in ("tilt1", "tilt2")]
        texts = [
            f"{name} {s[1]:.4f} ({s[0]:.4f}..{s[2]:.4f})"
            for name, s in zip(("tilt1", "tilt2"), spans, strict=True)
        ]
        lines.append(f"orientation  {', '.join(texts)} deg, median (5 % .. 95 %)")
    else:
        lines.append(
            "orientation  none: no voxel is complete enough; check M, omega_sign, detector_center, threshold"
        )
    lines.append(f"time         {seconds:.1f} s on {n_ranks} rank{'s' if n_ranks > 1 else ''}")
    return lines
