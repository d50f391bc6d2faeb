"""EDF files as beamlines write them: found, parsed, and their region of interest read."""

from __future__ import annotations

import gc
import gzip
import resource
import zlib
from pathlib import Path

import fabio
import numpy as np
import pytest
from edf_scan import (
    EDF_TYPES,
    OpenRecorder,
    edf_block,
    motor_header,
    pack,
    paired_lists,
    snapshot,
    write_edf,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import edf
from lib.errors import Recon3DError
from lib.frames import Roi

SUFFIXES = (".edf", ".edf.gz", ".edf.bz2")
SHAPE = (11, 14)
ROI = Roi(3, 2, 6, 5)
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)
every_type = pytest.mark.parametrize("kind", EDF_TYPES)
both_orders = pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])


def random_pixels(kind: str, shape: tuple[int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """Values over the whole range of the type, so that a wrong type or byte order cannot go unseen."""
    rng = np.random.default_rng(seed)
    if kind[0] == "f":
        return rng.normal(0, 1e5, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def simple_file(path: Path, **header: str) -> Path:
    return write_edf(path, random_pixels("u2"), header or motor_header({"phi": 1.5}))


def only_frame(path: Path) -> tuple[edf.FrameInfo, dict[str, float]]:
    (frame,) = edf.read_headers(str(path))
    return frame


# ---- Which files ----


def test_files_are_found_by_the_beginning_and_the_end_of_their_names(tmp_path: Path) -> None:
    wanted = ["a_1.edf", "a_2.edf.gz", "a_10.edf.bz2", "a_.edf"]
    others = ["b_1.edf", "xa_1.edf", "a_1.edf.txt", "a_1.tif", "a_1.edf.xz", "a_1_edf", "A_1.edf"]
    for name in (*wanted, *others):
        (tmp_path / name).touch()
    assert sorted(Path(p).name for p in edf.find_files(str(tmp_path), "a_")) == sorted(wanted)


def test_files_come_in_the_order_of_their_numbers_whatever_listdir_says(tmp_path: Path) -> None:
    """Mistake 13: listdir order was assumed; 2 comes before 10, also without leading zeros."""
    names = ["f_2_1.edf", "f_10_2.edf", "f_1_0.edf", "f_10_10.edf", "f_9_0.edf.gz", "f_10_0.edf"]
    for name in names:
        (tmp_path / name).touch()
    found = [Path(p).name for p in edf.find_files(str(tmp_path), "f")]
    assert found == ["f_1_0.edf", "f_2_1.edf", "f_9_0.edf.gz", "f_10_0.edf", "f_10_2.edf", "f_10_10.edf"]


@pytest.mark.parametrize("names", [["grain_x.edf", "x_1.edf"], ["1.edf", "a.edf", "a1.edf", "1a.edf"]])
def test_names_of_letters_and_numbers_sort_together(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert len(edf.find_files(str(tmp_path), "")) == len(names)


def test_a_missing_folder_a_file_and_a_wrong_name_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(Recon3DError, match="nowhere: no such folder"):
        edf.find_files(str(tmp_path / "nowhere"), "a")
    with pytest.raises(Recon3DError, match="no EDF file at all"):
        edf.find_files(str(tmp_path), "a")
    simple_file(tmp_path / "strain_0000.edf")
    with pytest.raises(Recon3DError, match=r"begins with 'topo_'; .* 1 .*strain_0000\.edf"):
        edf.find_files(str(tmp_path), "topo_")
    with pytest.raises(Recon3DError, match=r"strain_0000\.edf: is a file, not a folder"):
        edf.find_files(str(tmp_path / "strain_0000.edf"), "a")


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


# ---- Files that are no good ----


@pytest.mark.parametrize("missing", [1, 2, 100, 2 * SHAPE[0] * SHAPE[1]])
def test_a_torn_file(tmp_path: Path, missing: int) -> None:
    path = simple_file(tmp_path / "f.edf")
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(Recon3DError, match=rf"f\.edf: cut short \({308 - missing} of 308 bytes\)"):
        edf.read_headers(str(path))


@pytest.mark.parametrize("suffix", [".edf.gz", ".edf.bz2"])
@pytest.mark.parametrize("missing", [1, 100, 308, 400])
def test_a_torn_file_inside_a_sound_archive(tmp_path: Path, suffix: str, missing: int) -> None:
    """The frame was torn first and packed later: fabio would fill it up with zeros."""
    path = tmp_path / f"f{suffix}"
    path.write_bytes(pack(path.name, edf_block(random_pixels("u2"), {})[:-missing]))
    with pytest.raises(Recon3DError, match=r"f\.edf\.\w+: (cut short|cannot be read)"):
        edf.read_headers(str(path))


@pytest.mark.parametrize("suffix", [".edf.gz", ".edf.bz2"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_torn_archive(tmp_path: Path, suffix: str, kept: float) -> None:
    path = write_edf(tmp_path / f"f{suffix}", random_pixels("u2", (60, 50)), {})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(Recon3DError, match=r"f\.edf\.\w+: (cut short|cannot be read)"):
        edf.read_roi(only_frame(path)[0], ROI)


@pytest.mark.parametrize("suffix", [".edf.gz", ".edf.bz2"])
def test_a_damaged_archive(tmp_path: Path, suffix: str) -> None:
    path = write_edf(tmp_path / f"f{suffix}", random_pixels("u2", (60, 50)), {})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Recon3DError, match=r"f\.edf\.\w+: cannot be read"):
        edf.read_roi(only_frame(path)[0], ROI)


def test_a_torn_last_frame_of_several(tmp_path: Path) -> None:
    path = tmp_path / "f.edf"
    path.write_bytes((edf_block(random_pixels("u2"), {}) * 3)[:-1])
    with pytest.raises(Recon3DError, match=r"f\.edf: cut short"):
        edf.read_headers(str(path))


@pytest.mark.parametrize("excess", [b"\0" * 7, b"\xef\xbf\xbd" * 300, b" " * 512, b"{" * 600])
def test_a_file_that_is_too_long_is_read_and_reported(tmp_path: Path, excess: bytes) -> None:
    """The damaged sample of ID06 is 11,570 bytes too long; its header is sound."""
    path = simple_file(tmp_path / "f.edf")
    path.write_bytes(path.read_bytes() + excess)
    info, motors = only_frame(path)
    assert info.excess_bytes == len(excess)
    assert motors["phi"] == 1.5
    np.testing.assert_array_equal(edf.read_roi(info, ROI), random_pixels("u2")[2:7, 3:9])


def test_a_compressed_file_that_is_too_long_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "f.edf.gz"
    path.write_bytes(gzip.compress(edf_block(random_pixels("u2"), {}) + b"\xef\xbf\xbd" * 300))
    assert only_frame(path)[0].excess_bytes == 900


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Empty file"),
        (b"this is a note about the scan\n" * 50, "Invalid first header"),
        (b"{\nmotor_mne = phi ;\n", "Invalid first header"),
        (bytes(5000), "Invalid first header"),
    ],
    ids=["empty", "text", "torn header", "zeros"],
)
def test_a_file_that_is_no_edf(tmp_path: Path, content: bytes, reason: str) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"f{suffix}"
        path.write_bytes(pack(path.name, content))
        with pytest.raises(Recon3DError, match=rf"f\{suffix}: cannot be read as EDF \({reason}\)"):
            edf.read_headers(str(path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UnsignedShort", "UnsignedShark"),
        ("ByteOrder", "BiteOrder"),
        ("Dim_1          = 14", "Dim_1          = 1x"),
        ("Dim_2 ", "Dim_3 "),
    ],
)
def test_a_header_that_makes_no_sense(tmp_path: Path, old: str, new: str) -> None:
    path = simple_file(tmp_path / "f.edf")
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode()))
    with pytest.raises(Recon3DError, match=r"f\.edf: "):
        edf.read_headers(str(path))


SIZE_KEY = b"Size           = 308"


def with_size(size: bytes | None) -> bytes:
    """A frame of 308 bytes whose header gives another Size, or none."""
    block = edf_block(random_pixels("u2"), {})
    assert SIZE_KEY in block
    return block.replace(SIZE_KEY, b"Bytes          = 308" if size is None else SIZE_KEY[:-3] + size)


@every_suffix
def test_the_key_size_may_be_missing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"f{suffix}"
    path.write_bytes(pack(path.name, with_size(None)))
    np.testing.assert_array_equal(edf.read_roi(only_frame(path)[0], ROI), random_pixels("u2")[2:7, 3:9])


@pytest.mark.parametrize("size", [b"100", b"512"])
def test_the_key_size_may_be_wrong(tmp_path: Path, size: bytes) -> None:
    """The pixels are Dim_1 x Dim_2 items behind the header; "308 of 308 bytes" is no error."""
    path = tmp_path / "f.edf"
    path.write_bytes(with_size(size))
    np.testing.assert_array_equal(edf.read_roi(only_frame(path)[0], ROI), random_pixels("u2")[2:7, 3:9])


def test_padding_that_the_header_tells_of_is_no_damage(tmp_path: Path) -> None:
    """Some programs fill up the pixels to a multiple of 512 bytes and count that in Size."""
    path = tmp_path / "f.edf"
    path.write_bytes(with_size(b"512") + bytes(512 - 308))
    assert only_frame(path)[0].excess_bytes == 0


@every_suffix
def test_a_folder_named_like_a_file(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"f{suffix}").mkdir()
    with pytest.raises(Recon3DError, match=r"f\.edf.*: cannot be read as EDF"):
        edf.read_headers(str(tmp_path / f"f{suffix}"))
    with pytest.raises(Recon3DError, match=r"g\.edf.*: no such file"):
        edf.read_headers(str(tmp_path / f"g{suffix}"))


def test_pixels_compressed_inside_the_file(tmp_path: Path) -> None:
    """The Compression key of EDF is either obeyed or refused; fabio can read it."""
    pixels = random_pixels("u2")  # noise, so that the compressed pixels need as many bytes
    block = edf_block(pixels, {"Compression": "ZCompression"})
    head = block[: -pixels.nbytes]
    packed = zlib.compress(block[-pixels.nbytes :])
    head = head.replace(b"Size           = 308", b"Size           = %3d" % len(packed))
    path = tmp_path / "f.edf"
    path.write_bytes(head + packed)
    with fabio.open(str(path)) as image:
        np.testing.assert_array_equal(image.data, pixels)
    try:
        info, _ = only_frame(path)
    except Recon3DError as error:
        assert "ompress" in str(error)  # noqa: PT017
    else:
        np.testing.assert_array_equal(edf.read_roi(info, ROI), pixels[2:7, 3:9])


# ---- Motors ----


def test_motors_of_a_real_header(tmp_path: Path) -> None:
    """The motor lists of ID06's real sample, 83 long, beside 29 counters of which four are -nan."""
    motors = edf.read_motors("f.edf", REAL_HEADER)
    assert motors["diffry"] == -23.176
    assert motors["mono"] == 5.67781
    assert motors["chi"] == 2.79004
    assert motors["phi"] == 2.83
    assert motors["smfoc"] == -3.49836
    assert "srcur" not in motors
    path = simple_file(tmp_path / "f.edf", **REAL_HEADER)
    info, found = only_frame(path)
    assert found["diffry"] == -23.176
    assert info.ring_current_ma == 167.777


@pytest.mark.parametrize("cut", ["motor_mne", "motor_pos"])
def test_motor_lists_of_unequal_length(tmp_path: Path, cut: str) -> None:
    """A value lost from the list would give every motor behind it its neighbour's position."""
    header = dict(REAL_HEADER)
    header[cut] = header[cut].rsplit(maxsplit=1)[0]
    path = simple_file(tmp_path / "f.edf", **header)
    with pytest.raises(Recon3DError, match=r"f\.edf: motor_mne names 8[23] but motor_pos gives 8[23] values"):
        edf.read_headers(str(path))


def test_a_motor_without_a_number_is_nan() -> None:
    header = {"motor_mne": "phi chi diffrx smx", "motor_pos": "1 -nan ? 2e-3"}
    motors = edf.read_motors("f.edf", header)
    assert motors["phi"] == 1
    assert motors["smx"] == 2e-3
    assert np.isnan([motors["chi"], motors["diffrx"]]).all()


def test_plain_keys_are_motors_where_there_are_no_lists() -> None:
    header = {"Omega": "12.5", "phi_upper": "-0.01", "title": "CCD Image", "Dim_1": "2048", "Size": "8"}
    header |= {"EDF_BinarySize": "8", "ByteOrder": "LowByteFirst", "Image": "1"}
    assert edf.read_motors("f.edf", header) == {"Omega": 12.5, "phi_upper": -0.01}


def test_the_motor_list_wins_over_a_plain_key_of_the_same_name() -> None:
    assert edf.read_motors("f.edf", {"phi": "1", "motor_mne": "phi", "motor_pos": "2"})["phi"] == 2


# ---- Ring current ----

REAL_HEADER = {
    "counter_pos": "5 167.777 4.83755e-06 4.49475e-14 -6.20425e-14 6.08826e-13 104.839 58.5954 0 101.388 "
    "7.08645 0 134422 0 0 0 0 0 0 15.8587 12.2253 107.116 62.7188 0 0 -nan -nan -nan -nan",
    "counter_mne": "sec srcur pico1 pico2 pico3 pico4 nfavg nfstd europv ffavg ffstd oxtemp p201_1 mc5 mc6 "
    "delV delI samV samI basavg basstd diffavg diffstd horavg horstd foc1 foc2 foc3 foc4",
    "motor_pos": "2 5.67781 7.26697 2 -0.0606673 2 2.67886 4 0.46 4 -2.3005 -440.5 -0.151027 0 2257.86 0 "
    "-0.0125 0.38 3.763 -0.219 -0.0015 0.015 118 -18.72 -5.7646 -404.727 0 410 50 332.232 0.6972 155.258 "
    "25.1023 -0.00459375 0 -23.176 -1.38401e-06 -6.6 0.41 1.9877 2.79004 2.83 9.15 1900 91.867 -380.427 "
    "10.4341 14.73 1 0.157396 1 1.09653 -12.28 6.00113 3 0.00199669 7 2.42334 500 600 1300 561 0 -310 0 "
    "110 99 51.15 -0.0485141 -4850 -1.83986e-05 3 3.4803e-10 7 -2.42334 -0.35 1.21064 -3.53 -53.6341 "
    "45.0609 0 4.62 -3.49836",
    "motor_mne": "trash mono x2z s5hg s5ho s5vg s5vo s3vg s3vo s3hg s3ho fffoc ffrotc ffy ffz ffpitch hxx "
    "hxy hxz hxyaw hxroll hxpitch cdx cdy cdz cdpitch cdyaw euro_sp icx obx oby obz obpitch obyaw difftz "
    "diffry diffrz diffty corz corx chi phi detz dety detx hfoc hrotc htth s4hg s4ho s4vg s4vo nffoc "
    "delVsp s6hg s6ho s6vg s6vo auxx auxy auxz dcx dcy dcz nfrz nfx nfy nfz nfrotc mainx bstop s7hg s7ho "
    "s7vg s7vo smx smz smy furnz furny delIsp lenssel smfoc",
}


def test_ring_current_is_the_counter_not_the_motor_in_its_place() -> None:
    """Mistake 8: srcur was looked up among the counters and read among the motors: 5.7 for 167.8 mA."""
    assert REAL_HEADER["motor_pos"].split()[1] == "5.67781"
    assert edf.ring_current_ma(REAL_HEADER) == 167.777


@pytest.mark.parametrize(
    ("text", "current"),
    [
        ("181.3 mA", 181.3),
        ("current 181.3 mA", 181.3),
        ("181.3", 181.3),
        ("the ring holds 92.25 mA", 92.25),
        ("  17 mA ", 17),
        ("no beam", None),
        ("nan mA", None),
        ("", None),
    ],
)
def test_ring_current_of_the_key_machine_current(text: str, current: float | None) -> None:
    assert edf.ring_current_ma({"machine current": text}) == current


def test_ring_current_unknown() -> None:
    assert edf.ring_current_ma({}) is None
    assert edf.ring_current_ma(paired_lists("counter", {"sec": 1.0, "mon": 2.0})) is None
    assert edf.ring_current_ma(paired_lists("motor", {"srcur": 5.6})) is None


def test_ring_current_of_a_counter_without_a_number() -> None:
    counters = paired_lists("counter", {"sec": 1.0, "srcur": float("nan"), "pico1": 3.0})
    assert counters["counter_pos"].split()[1] == "-nan"
    assert edf.ring_current_ma(counters) is None
    assert edf.ring_current_ma({**counters, "machine current": "90.5 mA"}) == 90.5


def test_the_counter_wins_over_the_key() -> None:
    header = {**paired_lists("counter", {"srcur": 190.0}), "machine current": "90.5 mA"}
    assert edf.ring_current_ma(header) == 190.0
