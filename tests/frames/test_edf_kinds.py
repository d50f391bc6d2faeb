"""EDF files of other writers: what is read quickly is what fabio reads, of headers of every kind."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabio
import numpy as np
import pytest

from lib.errors import Recon3DError
from lib.frames import edf
from lib.frames.pixels import FrameInfo, Roi

SHAPE = (6, 8)
ROI = Roi(1, 2, 5, 3)
N = 5


def pixels(n: int = N, kind: str = "<u2") -> np.ndarray:
    return np.random.default_rng(n).integers(1, 5000, (n, *SHAPE)).astype(kind)


def header(
    number: int,
    *lines: str,
    first: str = "",
    block: int = 512,
    eol: str = "\n",
    names: tuple[str, str] = ("motor_mne", "motor_pos"),
    kind: str = "UnsignedShort",
    order: str = "LowByteFirst",
    last: bytes = b"}\n",
) -> bytes:
    """A header whose motors say the number of the file."""
    keys = [
        *([first] if first else []),
        f"ByteOrder = {order} ;",
        f"DataType = {kind} ;",
        f"Dim_1 = {SHAPE[1]} ;",
        f"Dim_2 = {SHAPE[0]} ;",
        f"{names[0]} = chi phi obx ;",
        f"{names[1]} = {number * 0.25:.6g} {10 ** (number % 3)} 50 ;",
        "counter_mne = sec srcur ;",
        f"counter_pos = 1 {190 + number} ;",
        *lines,
    ]
    text = (eol.join(["{", *keys]) + eol).encode("latin-1")
    size = -(-(len(text) + len(last)) // block) * block if block else 0
    return text.ljust(size - len(last)) + last


KINDS: dict[str, Callable[[int], bytes]] = {
    "plain": lambda k: header(k),
    "empty values": lambda k: header(k, "ans = ;", "title =  ;", "x=;"),
    "broken lines": lambda k: header(
        k, f"comment = one\n{k} two ;", "history = a=b; c = d ;", f"no key {k} ;"
    ),
    "short": lambda k: header(k, block=0),
    "long": lambda k: header(k, *(f"long{i} = {k} {'x' * 200} ;" for i in range(60))),
    "CRLF": lambda k: header(k, eol="\r\n", last=b"}\r\n"),
    "braces": lambda k: header(k, f"a = x {{ {k} ;", f"b = x }} {k} ;"),
    "non-ASCII": lambda k: header(k, f"comment = {k} \xb0C ;", "same = \xb5m ;"),
    "sometimes non-ASCII": lambda k: header(k, "comment = 20 \xb0C ;" if k % 2 else "comment = 20 oC ;"),
    "motors twice": lambda k: header(k, f"motor_pos = {k} 2 3 ;"),
    "motors twice, the last the same": lambda k: header(k, "motor_pos = 1 2 3 ;"),
    "plain key twice": lambda k: header(k, f"eta = {k} ;", f"eta = {k + 1} ;"),
    "capitals": lambda k: header(k, names=("MOTOR_MNE", "MOTOR_POS")),
    "odd blanks": lambda k: header(k, f"\x0b\x0ceta\0 = \0\t{k}\x0b ;"),
    "no header size": lambda k: header(k, first="EDF_HeaderSize = unknown ;"),
    "numbers of other lengths": lambda k: header(k, f"note = {'x' * (100 * (k % 2))} ;"),
    "a frame count of the scan": lambda k: header(k, "Num_Images = 1441 ;"),
    "padded": lambda k: header(k, "Size = 512 ;"),
    "a general block": lambda k: (
        b"{\nEDF_DataFormatVersion = 2.40 ;\neta = 7 ;\n".ljust(510)
        + b"}\n"
        + header(k, "EDF_DataBlockID = 1.Image.Psd ;", "EDF_BinarySize = 96 ;")
    ),
}


def seen_by_fabio(path: Path) -> list[tuple[np.ndarray, dict[str, str]]]:
    image = fabio.open(str(path))
    return [(image.get_frame(i).data, image.get_frame(i).header) for i in range(image.nframes)]


def pixels_of(info: FrameInfo) -> np.ndarray:
    return edf.RoiReader(ROI).read(info).copy()


@pytest.mark.parametrize("kind", list(KINDS))
def test_quick_reading_equals_fabio(tmp_path: Path, kind: str) -> None:
    frames = pixels()
    reader = edf.HeaderReader()
    for k in range(N):
        path = tmp_path / f"f{k}.edf"
        content = KINDS[kind](k) + frames[k].tobytes()
        path.write_bytes(content.ljust(len(content) + 416, b"\0") if kind == "padded" else content)
        found = reader.read(str(path))
        assert found == edf.read_headers(str(path))
        ((expected, keys),) = seen_by_fabio(path)
        ((info, motors),) = found
        np.testing.assert_array_equal(expected, frames[k])
        np.testing.assert_array_equal(pixels_of(info), expected[2:5, 1:6])
        lists = {
            name.lower(): text.split() for name, text in keys.items() if name.lower().startswith("motor")
        }
        assert [motors[name] for name in ("chi", "phi", "obx")] == [float(v) for v in lists["motor_pos"]]
        assert info.ring_current_ma == 190 + k
        assert "eta" not in keys or motors["eta"] == float(keys["eta"])


@pytest.mark.parametrize(
    ("name", "order", "kind"),
    [("UnsignedShort", "HighByteFirst", ">u2"), ("SignedInteger", "LowByteFirst", "<i4"),
     ("UnsignedInteger", "HighByteFirst", ">u4"), ("FloatValue", "LowByteFirst", "<f4"),
     ("Unsigned64", "LowByteFirst", "<u8")],
)  # fmt: skip
def test_types_that_change_within_a_scan(tmp_path: Path, name: str, order: str, kind: str) -> None:
    """Files of the same size but for the type: the pixels are those of fabio, not of the file before."""
    frames = pixels()
    reader = edf.HeaderReader()
    for k in range(N):
        usual = k % 2 == 0
        path = tmp_path / f"f{k}.edf"
        written = frames[k].astype("<u2" if usual else kind)
        head = header(k) if usual else header(k, kind=name, order=order)
        path.write_bytes(head + written.tobytes())
        ((info, _),) = reader.read(str(path))
        np.testing.assert_array_equal(pixels_of(info), seen_by_fabio(path)[0][0][2:5, 1:6])


PACKED = {".edf": bytes, ".edf.gz": gzip.compress, ".edf.bz2": bz2.compress}


@pytest.mark.parametrize("suffix", list(PACKED))
@pytest.mark.parametrize(
    "lines",
    [
        ("Num_Images = 5 ;",),
        ("EDF_HeaderSize = 8192 ;", "num_images = 5 ;"),
        ("Size = 480 ;",),
        ("Dim_3 = 5 ;",),
    ],
)
@pytest.mark.parametrize("block", [512, 8192])
def test_one_header_for_many_frames(tmp_path: Path, suffix: str, lines: tuple[str, ...], block: int) -> None:
    path = tmp_path / f"f{suffix}"
    frames = pixels()
    content = header(1, *lines, eol="\r\n", last=b"}\r\n", block=block) + frames.tobytes()
    path.write_bytes(PACKED[suffix](content))
    found = edf.HeaderReader().read(str(path))
    assert len(found) == N
    for (info, motors), frame in zip(found, frames, strict=True):
        assert (info.n_under_header, info.excess_bytes, info.fault, motors["chi"]) == (N, 0, "", 0.25)
        np.testing.assert_array_equal(pixels_of(info), frame[2:5, 1:6])


@pytest.mark.parametrize("suffix", list(PACKED))
@pytest.mark.parametrize("missing", [1, 96, 200])
def test_many_frames_under_one_header_cut_short(tmp_path: Path, suffix: str, missing: int) -> None:
    path = tmp_path / f"f{suffix}"
    path.write_bytes(PACKED[suffix](header(1, "Num_Images = 5 ;") + pixels().tobytes()[:-missing]))
    with pytest.raises(Recon3DError, match="cut short"):
        edf.read_headers(str(path))
    lost = [bool(info.fault) for info, _ in edf.HeaderReader().read(str(path))]
    assert lost == [i >= N - -(-missing // 96) for i in range(N)]


@pytest.mark.parametrize("padding", [100, 96 * 3, 512 - 96])
def test_padding_is_no_frame(tmp_path: Path, padding: int) -> None:
    """Even where it has the size of some frames."""
    path = tmp_path / "f.edf"
    path.write_bytes(header(1, f"Size = {96 + padding} ;") + pixels(1).tobytes() + bytes(padding))
    ((info, _),) = edf.read_headers(str(path))
    assert (info.n_under_header, info.excess_bytes) == (1, 0)


@pytest.mark.parametrize("missing", [1, 95])
def test_the_torn_last_of_several_frames_alone_is_lost(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "f.edf"
    whole = b"".join(header(k) + frame.tobytes() for k, frame in enumerate(pixels()))
    path.write_bytes(whole[:-missing])
    found = edf.HeaderReader().read(str(path))
    assert [bool(info.fault) for info, _ in found] == [False] * 4 + [True]
    assert "cut short" in found[-1][0].fault


@pytest.mark.parametrize("there", [True, False])
def test_pixels_in_a_file_beside_the_header(tmp_path: Path, there: bool) -> None:
    """EDF_BinaryFileName: what follows the header is not the frame."""
    path, frame = tmp_path / "f.edf", pixels(2)
    lines = ("EDF_BinaryFileName = f.bin ;", "EDF_BinaryFilePosition = 96 ;", "EDF_BinaryFileSize = 96 ;")
    path.write_bytes(header(1, *lines, "EDF_BinarySize = 0 ;"))
    if not there:
        with pytest.raises(Recon3DError, match=r"f\.edf: has its pixels in f\.bin, which is missing"):
            edf.read_headers(str(path))
        return
    (tmp_path / "f.bin").write_bytes(frame.tobytes())
    ((info, _),) = edf.read_headers(str(path))
    assert info.name == str(path)
    np.testing.assert_array_equal(pixels_of(info), seen_by_fabio(path)[0][0][2:5, 1:6])
    np.testing.assert_array_equal(pixels_of(info), frame[1][2:5, 1:6])
    (tmp_path / "f.bin").write_bytes(frame.tobytes()[:-1])
    with pytest.raises(Recon3DError, match="cut short"):
        edf.read_headers(str(path))


def test_fabio_says_nothing_on_the_screen(tmp_path: Path, capfd: Any) -> None:
    for k, kind in enumerate(KINDS):
        path = tmp_path / f"f{k}.edf"
        path.write_bytes(KINDS[kind](k) + pixels(1).tobytes() + bytes(600))
        edf.HeaderReader().read(str(path))
    assert capfd.readouterr() == ("", "")
