"""grain.vtkhdf: one HDF5 file that ParaView opens as ImageData and silx view as NeXus.

The fields are stored once, as cell data of the group VTKHDF with axes (z, y, x); the NXdata groups
of /entry link to them. All ranks compress, rank 0 writes what comes, slab by slab.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..cells.boundaries import table_of_boundaries
from ..cells.surfaces import Surface
from ..cells.surfaces import surface as cell_surface
from ..errors import Recon3DError
from ..frames.hdf5_file import open_hdf5
from ..initfile.parameters import KEYS, Parameters
from ..initfile.parse import format_value, from_keys
from ..parallel.claim import claimed
from ..parallel.communicator import SerialComm
from ..parallel.crew import ALONE, Crew, Job
from ..physics.colours import colour_range, orientation_rgb
from ..physics.dislocations import gnd_density
from ..physics.misorientation import neighbour_misorientation
from ..version import __version__
from . import figures, labels
from .compression import chunk_places, chunk_sides, compress_colours, compress_slab, slabs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_VTKHDF_VERSION = (1, 0)  # what ImageData needs; VTK reads its cells since 9.3
_VOXELS_AT_ONCE = 2 << 20  # of a field, 16 MB, which one rank compresses
_NO_CELLS = (
    "the grain has no cells: the key cells was none, the method not mlem, or it has no map of two tilts; "
    "recon3d-cells finds them"
)
FIELD_NOTES = {
    "tilt1": ("deg", "orientation: position of tilt1 at which the voxel diffracts"),
    "tilt2": ("deg", "orientation: position of tilt2 at which the voxel diffracts"),
    "tilt1_std": ("deg", "standard deviation of the voxel's map along tilt1"),
    "tilt2_std": ("deg", "standard deviation of the voxel's map along tilt2"),
    "completeness": ("", "share of the measured omegas at which the brightest tilt pair is lit"),
    "intensity": ("counts", "mean over omega of the counts of all tilts at the voxel's pixel"),
    "tilt_correlation": ("", "correlation of tilt1 and tilt2 within the peak of the voxel"),
    "peaks": ("", "orientations with a peak of their own: 2 where a second one stands out"),
    "kam": (
        "deg",
        "mean angle between the orientations of the voxel and of its neighbours in the grain; projected",
    ),
    "gnd": ("m^-2", "lower bound of the density of geometrically necessary dislocations"),
    "sure": ("", "how sure the voxel is to be inside the grain, 0 to 1"),
    "rocking_offset": ("deg", "constant part of the rocking angle: strain and motor zero together"),
    "rocking_offset_std": ("deg", "standard deviation of the constant part"),
    "rocking_omega0": ("deg", "omega at which the rocking angle is largest"),
    "rocking_amplitude": ("deg", "size of the rocking angle's swing over a turn"),
    "strain": ("", "axial strain, along the scattering vector"),
    "strain_std": ("", "standard deviation of the strain"),
    "cell": ("", "number of the cell, the largest first; 0 outside"),
    "tilt1_change": ("deg", "change of tilt1 in the second result, less the common rotation"),
    "tilt2_change": ("deg", "change of tilt2 in the second result, less the common rotation"),
    "change": ("deg", "size of the change of the orientation, less the common rotation; projected"),
    "strain_change": ("", "change of the axial strain in the second result"),
    "cell_second": ("", "number of the cell of the second result; 0 outside"),
    "mask_second": ("", "1 inside the grain of the second result"),
    "mask": ("", "1 inside the grain"),
    "rgb": ("", "orientation as colour, see rgb_center_deg and rgb_radius_deg"),
}


@dataclass(frozen=True)
class Volume:
    """A reconstructed (or true) grain, as grain.vtkhdf has it.

    origin_um is the corner of the volume, axes_um the voxel centres along x, y, z in the sample frame;
    fields and mask have shape (n_x, n_y, n_z); attributes say what else is worth knowing, warnings what
    to doubt. `grain["tilt1"]` and `grain.tilt1` are the field tilt1, `grain.misfit` the attribute misfit.
    """

    origin_um: Array
    spacing_um: Array
    axes_um: tuple[Array, Array, Array]
    fields: Mapping[str, NDArray[Any]]
    mask: NDArray[np.bool_]
    parameters: Parameters
    attributes: Mapping[str, Any]
    warnings: Sequence[str] = ()

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.fields[name]

    def __getattr__(self, name: str) -> Any:
        known = {**self.__dict__.get("attributes", {}), **self.__dict__.get("fields", {})}
        if name in ("cells", "boundaries", "fits"):  # their property found none
            raise AttributeError(_NO_CELLS)
        if name not in known:
            raise AttributeError(f"the grain has no '{name}', but {', '.join(sorted(known))}")
        return known[name]

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The orientation as colour, (n_x, n_y, n_z, 3)."""
        return orientation_rgb(self.fields["tilt1"], self.fields["tilt2"], *self._colour_range())

    @cached_property
    def cells(self) -> NDArray[Any]:
        """What is to be said of each cell, a structured array: see `lib.cells.table.table_of_cells`."""
        if "cell" not in self.fields:
            raise AttributeError(_NO_CELLS)
        return labels.table(self.fields, self.mask, self.axes_um, self.spacing_um, self.parameters.method)

    @cached_property
    def boundaries(self) -> NDArray[Any]:
        """What is to be said of each wall between two cells: see `lib.cells.boundaries`."""
        return table_of_boundaries(self.surface(), self.cells)

    @property
    def fits(self) -> labels.Fits:
        """What papers fit to sizes, misorientations and spreads of cells: see `labels.fits`."""
        return labels.fits(self.cells, self.boundaries)

    def kam_within(self, kernel_um: float) -> Array:
        """KAM in degrees over the neighbours within kernel_um: see `neighbour_misorientation`."""
        tilts = self.fields["tilt1"], self.fields["tilt2"]
        return neighbour_misorientation(*tilts, self.mask, np.asarray(self.spacing_um), kernel_um)

    def gnd_within(self, kernel_um: float, burgers_angstrom: float) -> Array:
        """Lower bound of the density of dislocations in m^-2, over such neighbours: see `gnd_density`."""
        tilts, spacing_um = (self.fields["tilt1"], self.fields["tilt2"]), np.asarray(self.spacing_um)
        mode = self.parameters.mode
        return gnd_density(*tilts, self.mask, spacing_um, mode, burgers_angstrom, kernel_um)

    def surface(self) -> Surface:
        """The smooth surface of all cells in um: see `lib.cells.surfaces`."""
        if "cell" not in self.fields:
            raise AttributeError(_NO_CELLS)
        return self._surface

    @cached_property
    def _surface(self) -> Surface:
        return cell_surface(self.fields["cell"], self.origin_um, self.spacing_um)

    def plot_slice(
        self,
        field: str = "orientation",
        normal: str = "z",
        at_um: float | None = None,
        ax: Axes | None = None,
        *,
        scale_bar: bool = True,
        walls: bool = False,
    ) -> Axes:
        """Draw a slice: "orientation" in the colours of `plot_key`, or a field by name, with a colour bar.

        normal is the axis normal to the slice, at_um its place (default: the middle of the grain), ax where
        matplotlib is to draw (default: a new figure). With a scale bar, or with axes in micrometres;
        walls draws those between cells.
        """
        unit = FIELD_NOTES.get(field, ("", ""))[0]
        return figures.plot_slice(self, field, normal, at_um, ax, unit=unit, scale_bar=scale_bar, walls=walls)

    def plot_key(self, ax: Axes | None = None) -> Axes:
        """Draw the colours of the orientations over both tilts in degrees."""
        return figures.plot_key(self, ax)

    def plot_cells(
        self,
        normal: str = "z",
        at_um: float | None = None,
        ax: Axes | None = None,
        *,
        scale_bar: bool = True,
        numbers: bool = True,
    ) -> Axes:
        """Draw a slice of the cells, each in a colour of its own with its number, and the walls smooth."""
        return figures.plot_cells(self, normal, at_um, ax, scale_bar=scale_bar, numbers=numbers)

    def save(self, path: str | Path) -> None:
        """Write the grain as a file like grain.vtkhdf; it appears when it is whole."""
        part = Path(path).with_name(f".{Path(path).name}.part")
        with claimed(Path(path), SerialComm()):
            try:
                write(part, self)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def _colour_range(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return colour_range(self.fields["tilt1"], self.fields["tilt2"], self.mask)


def read(path: str | Path) -> Volume:
    """The grain of a file that `write` wrote. Raises Recon3DError."""
    try:
        with open_hdf5(path) as file:
            return _read(file, str(path))
    except FileNotFoundError:
        raise Recon3DError(path, "no such file; recon3d.py makes grain.vtkhdf") from None
    except (OSError, KeyError) as error:
        raise Recon3DError(path, f"is not a grain.vtkhdf ({' '.join(str(error).split())})") from None


def _read(file: h5py.File, where: str) -> Volume:
    vtk, entry = file["VTKHDF"], file["entry"]
    stored = {name: np.ascontiguousarray(np.swapaxes(d[()], 0, 2)) for name, d in vtk["CellData"].items()}
    mask = stored.pop("mask").astype(bool)
    del stored["rgb"]  # made from the others
    process = entry["process"]
    keys = {name: value for name, value in process["parameters"].attrs.items() if name in KEYS}
    x_um, y_um, z_um = (entry[f"voxel_{name}"][()] for name in "xyz")
    return Volume(
        origin_um=vtk.attrs["Origin"],
        spacing_um=vtk.attrs["Spacing"],
        axes_um=(x_um, y_um, z_um),
        fields=stored,
        mask=mask,
        parameters=from_keys(keys, where),
        attributes={name: value for name, value in process.attrs.items() if name != "NX_class"},
        warnings=tuple(process["warnings"].asstr()[()]) if "warnings" in process else (),
    )


def write(path: Path, volume: Volume, crew: Crew = ALONE) -> None:
    """Write the file (not atomic: give a temporary name and rename); the same bytes with any crew."""
    center, radius = volume._colour_range()
    with open_hdf5(path, "w") as file:
        vtk = file.create_group("VTKHDF")
        vtk.attrs["Version"] = np.array(_VTKHDF_VERSION, dtype="i8")
        vtk.attrs["Type"] = np.bytes_("ImageData")
        extent = [limit for n in volume.mask.shape for limit in (0, n)]
        vtk.attrs["WholeExtent"] = np.array(extent, dtype="i8")
        vtk.attrs["Origin"] = volume.origin_um.astype("f8")
        vtk.attrs["Spacing"] = volume.spacing_um.astype("f8")
        vtk.attrs["Direction"] = np.eye(3).ravel()
        cells = vtk.create_group("CellData")
        for name in volume.fields:
            kind = "i4" if volume.fields[name].dtype.kind == "i" else "f8"
            _create_field(cells, name, volume.mask.shape, kind)
        _create_field(cells, "mask", volume.mask.shape, "u1")
        _create_field(cells, "rgb", (*volume.mask.shape, 3), "u1")
        cells["rgb"].attrs["rgb_center_deg"] = center
        cells["rgb"].attrs["rgb_radius_deg"] = radius
        _write_nexus(file, cells, volume)
        _fill(cells, volume, (center, radius), crew)


def _create_field(cells: h5py.Group, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Room for (x, y, z, ...) as (z, y, x, ...)."""
    n_x, n_y, n_z, *rest = shape
    side_x, side_y, side_z = chunk_sides(shape[:3])
    dataset = cells.create_dataset(
        name,
        (n_z, n_y, n_x, *rest),
        dtype,
        chunks=(side_z, side_y, side_x, *rest),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    unit, text = FIELD_NOTES[name]
    dataset.attrs["long_name"] = f"{name} ({unit})" if unit else name
    dataset.attrs["description"] = text
    if unit:
        dataset.attrs["units"] = unit


def _fill(cells: h5py.Group, volume: Volume, key: tuple[Any, Any], crew: Crew) -> None:
    """The values, slab by slab."""
    shape = volume.mask.shape
    sides = chunk_sides(shape)
    tilts = volume.fields["tilt1"], volume.fields["tilt2"]
    tilt1_alone = not np.isfinite(tilts[1]).any()
    todo: dict[str, tuple[Any, ...]] = {
        name: (compress_slab, (sides, cells[name].dtype.str), (values,))
        for name, values in {**volume.fields, "mask": volume.mask}.items()
    }
    todo["rgb"] = compress_colours, (sides, *key, tilt1_alone), tilts
    parts = [(name, slab) for slab in slabs(sides, shape, _VOXELS_AT_ONCE) for name in todo]

    def job(name: str, slab: tuple[range, range]) -> Job:
        work, arguments, arrays = todo[name]
        x, y = (slice(part.start, part.stop) for part in slab)
        return Job(work, arguments, tuple(np.ascontiguousarray(a[x, y]) for a in arrays))

    results = crew.results(job(*part) for part in parts)
    for (name, slab), chunks in zip(parts, results, strict=True):
        dataset = cells[name]
        rest = (0,) * (dataset.ndim - 3)
        for place, chunk in zip(chunk_places(sides, slab, shape[2]), chunks, strict=True):
            dataset.id.write_direct_chunk((*place, *rest), chunk)


def _write_nexus(file: h5py.File, cells: h5py.Group, volume: Volume) -> None:
    file.attrs["NX_class"] = "NXroot"
    file.attrs["default"] = "entry"
    entry = file.create_group("entry")
    entry.attrs["NX_class"] = "NXentry"
    entry.attrs["default"] = "tilt1"
    axes = {}
    for name, centers in zip("xyz", volume.axes_um, strict=True):
        axes[name] = entry.create_dataset(f"voxel_{name}", data=centers)
        axes[name].attrs["units"] = "um"
        axes[name].attrs["long_name"] = f"{name} (um)"
    for name in cells:
        data = entry.create_group(name)
        data.attrs["NX_class"] = "NXdata"
        data.attrs["signal"] = name
        data.attrs["axes"] = ["z", "y", "x"] + (["."] if cells[name].ndim == 4 else [])
        if name == "rgb":
            data.attrs["interpretation"] = "rgba-image"
        data[name] = cells[name]
        for axis, dataset in axes.items():
            data[axis] = dataset
    process = entry.create_group("process")
    process.attrs["NX_class"] = "NXprocess"
    process["program"] = "Recon3D"
    process["version"] = __version__
    process["date"] = datetime.now().astimezone().isoformat(timespec="seconds")
    for name, value in volume.attributes.items():
        process.attrs[name] = value
    process.create_dataset("warnings", data=list(volume.warnings), dtype=h5py.string_dtype())
    parameters = process.create_group("parameters")
    parameters.attrs["NX_class"] = "NXcollection"
    for key in fields(volume.parameters):
        value = getattr(volume.parameters, key.name)
        plain = isinstance(value, int | float | str) and not isinstance(value, bool)
        numbers = isinstance(value, tuple) and value and all(isinstance(v, int | float) for v in value)
        parameters.attrs[key.name] = value if plain or numbers else format_value(value)
