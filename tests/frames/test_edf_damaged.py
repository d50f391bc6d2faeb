"""EDF files that are torn, too long, mislabelled or no EDF at all: refused, or read and reported."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import fabio
import numpy as np
import pytest

from lib.errors import Recon3DError
from lib.frames import edf
from tests.frames.edf_files import ROI, SHAPE, SUFFIXES, every_suffix, only_frame, random_pixels, simple_file
from tests.frames.edf_scan import edf_block, pack, write_edf


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
