"""The pixels of sound EDF files: the right values, no more read than needed, nothing written."""

from __future__ import annotations

import gc
import resource
from pathlib import Path

import fabio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import Recon3DError
from lib.frames import edf
from lib.frames.pixels import Roi
from tests.frames.edf_files import ROI, SHAPE, SUFFIXES, every_suffix, only_frame, random_pixels, simple_file
from tests.frames.edf_scan import EDF_TYPES, OpenRecorder, edf_block, motor_header, pack, snapshot, write_edf

every_type = pytest.mark.parametrize("kind", EDF_TYPES)
both_orders = pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])


# ---- Pixels ----


@every_suffix
@every_type
@both_orders
def test_every_type_and_byte_order(tmp_path: Path, kind: str, big_endian: bool, suffix: str) -> None:
    pixels = random_pixels(kind)
    path = write_edf(tmp_path / f"f{suffix}", pixels, {}, big_endian=big_endian)
    info, _ = only_frame(path)
    assert info.shape_yx == SHAPE
    found = edf.read_roi(info, ROI)
    np.testing.assert_array_equal(found, pixels[2:7, 3:9])
    assert found.dtype == np.dtype(kind)
    assert found.dtype.isnative


@pytest.mark.parametrize("header_bytes", [512, 1024, 3072, 8192, 1])
def test_pixels_start_where_the_header_ends(tmp_path: Path, header_bytes: int) -> None:
    """The real sample has a header of 3072 bytes; nothing says that it must be a multiple of 512."""
    pixels = random_pixels("u2")
    path = write_edf(tmp_path / "f.edf", pixels, motor_header({"phi": 1.5}), header_bytes=header_bytes)
    np.testing.assert_array_equal(edf.read_roi(only_frame(path)[0], ROI), pixels[2:7, 3:9])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(list(EDF_TYPES)), big_endian=st.booleans())
def test_rows_of_the_roi_are_the_slice_of_the_whole_frame(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: str, big_endian: bool
) -> None:
    n_y, n_x = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    x0, y0 = data.draw(st.integers(0, n_x - 1)), data.draw(st.integers(0, n_y - 1))
    roi = Roi(x0, y0, data.draw(st.integers(1, n_x - x0)), data.draw(st.integers(1, n_y - y0)))
    start = data.draw(st.integers(0, roi.height))
    rows = range(start, data.draw(st.integers(start, roi.height)))
    suffix = data.draw(st.sampled_from(SUFFIXES))
    pixels = random_pixels(kind, (n_y, n_x), seed=n_x * n_y)
    path = tmp_path_factory.getbasetemp() / f"rows{suffix}"
    info, _ = only_frame(write_edf(path, pixels, {}, big_endian=big_endian))
    whole = pixels[roi.y0 : roi.y0 + roi.height, roi.x0 : roi.x0 + roi.width]
    np.testing.assert_array_equal(edf.read_roi(info, roi), whole)
    np.testing.assert_array_equal(edf.read_roi(info, roi, rows), whole[rows.start : rows.stop])


@every_suffix
def test_frames_of_one_file(tmp_path: Path, suffix: str) -> None:
    """Multi-frame EDF: each frame has its own header, pixels and even its own type."""
    kinds = ["u2", "i4", "f4", "u2"]
    frames = [random_pixels(kind, seed=i) for i, kind in enumerate(kinds)]
    content = b"".join(
        edf_block(f, motor_header({"phi": 0.1 * i}), big_endian=i == 1, header_bytes=512 * (i + 2))
        for i, f in enumerate(frames)
    )
    path = tmp_path / f"multi{suffix}"
    path.write_bytes(pack(path.name, content))
    found = edf.read_headers(str(path))
    assert [info.number for info, _ in found] == [0, 1, 2, 3]
    assert [motors["phi"] for _, motors in found] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert not any(info.excess_bytes for info, _ in found)
    for (info, _), pixels in zip(reversed(found), reversed(frames), strict=True):
        np.testing.assert_array_equal(edf.read_roi(info, ROI), pixels[2:7, 3:9])


@every_suffix
def test_files_of_fabio_itself(tmp_path: Path, suffix: str) -> None:
    frames = [random_pixels("u2", seed=i) for i in range(3)]
    image = fabio.edfimage.EdfImage(data=frames[0], header={"motor_mne": "phi", "motor_pos": "0"})
    for i, pixels in enumerate(frames[1:], 1):
        image.append_frame(data=pixels, header={"motor_mne": "phi", "motor_pos": f"{i}"})
    path = tmp_path / f"fabio{suffix}"
    image.write(str(path))
    found = edf.read_headers(str(path))
    assert [motors["phi"] for _, motors in found] == [0, 1, 2]
    for (info, _), pixels in zip(found, frames, strict=True):
        np.testing.assert_array_equal(edf.read_roi(info, ROI), pixels[2:7, 3:9])


def test_write_frame_makes_what_fabio_reads(tmp_path: Path) -> None:
    pixels = random_pixels("u2")
    edf.write_frame(tmp_path / "f.edf", pixels, {"Omega": "12.5", "title": "made here"})
    with fabio.open(str(tmp_path / "f.edf")) as image:
        np.testing.assert_array_equal(image.data, pixels)
        assert image.header["Omega"] == "12.5"


# ---- How little is read, and that nothing is written ----


def test_only_the_rows_of_the_roi_are_read(tmp_path: Path) -> None:
    """Whatever stands in the file beside the rows of the ROI, even nothing at all, makes no difference."""
    pixels = random_pixels("u2")
    path = write_edf(tmp_path / "f.edf", pixels, {})
    info, _ = only_frame(path)
    content = path.read_bytes()
    first, end = (info.offset + 2 * (y * SHAPE[1] + x) for y, x in ((2, 0), (7, 0)))
    path.write_bytes(b"\xff" * first + content[first:end])
    np.testing.assert_array_equal(edf.read_roi(info, ROI), pixels[2:7, 3:9])
    last_pixel_end = info.offset + 2 * (6 * SHAPE[1] + 9)
    path.write_bytes(content[: last_pixel_end - 1])
    np.testing.assert_array_equal(edf.read_roi(info, ROI, range(0, 4)), pixels[2:6, 3:9])
    with pytest.raises(Recon3DError, match=r"f\.edf: cut short since its header was read"):
        edf.read_roi(info, ROI)


def test_a_file_deleted_after_its_header_was_read(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = simple_file(tmp_path / f"f{suffix}")
        info, _ = only_frame(path)
        path.unlink()
        with pytest.raises((Recon3DError, FileNotFoundError), match=r"f\.edf"):
            edf.read_roi(info, ROI)


@pytest.fixture(scope="module")
def recorder() -> OpenRecorder:
    return OpenRecorder()


@every_suffix
def test_files_are_only_ever_opened_for_reading(tmp_path: Path, suffix: str, recorder: OpenRecorder) -> None:
    """Mistake 13: data files were opened for writing, so that a read-only folder of raw data failed."""
    path = simple_file(tmp_path / f"f{suffix}")
    before = snapshot(tmp_path)
    recorder.start(tmp_path)
    edf.find_files(str(tmp_path), "f")
    edf.read_roi(only_frame(path)[0], ROI)
    opened = recorder.stop()
    assert len(opened) >= 2
    for name, mode, flags in opened:
        assert not set(mode or "") & set("wax+"), name
        assert flags & 3 == 0, (name, flags)  # O_RDONLY
    assert snapshot(tmp_path) == before


@every_suffix
def test_files_are_closed_again(tmp_path: Path, suffix: str) -> None:
    """Thousands of files are read where a process may open 1024."""
    path = simple_file(tmp_path / f"f{suffix}")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 100
    gc.disable()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 12, limits[1]))
        for _ in range(30):
            edf.read_roi(only_frame(path)[0], ROI)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        gc.enable()
