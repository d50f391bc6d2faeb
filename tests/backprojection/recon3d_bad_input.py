"""Mistakes of the user of recon3d.py: how each spoils the folder, and what the error must say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.backprojection.recon3d_command import BASE
from tests.backprojection.reference import made_up_scan, write_init, write_scan
from tests.running import error_line

Outcome = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Bad:
    """A mistake of the user: what it does to the folder and the init file, and what the error must say."""

    spoil: Callable[[Path, dict[str, Any]], object]
    says: tuple[str, ...]


def without(*names: str) -> Callable[[Path, dict[str, Any]], object]:
    return lambda folder, keys: [keys.pop(name) for name in names]


def setting(**values: Any) -> Callable[[Path, dict[str, Any]], object]:
    return lambda folder, keys: keys.update(values)


def saved(name: str, array: Any) -> Callable[[Path, dict[str, Any]], object]:
    def save(folder: Path, keys: dict[str, Any]) -> None:
        with (folder / name).open("wb") as stream:
            np.save(stream, array)

    return save


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path, dict[str, Any]], object]:
    return lambda folder, keys: (folder / name).write_bytes(change((folder / name).read_bytes()))


def code_in(key: str, quote: str = "") -> Callable[[Path, dict[str, Any]], object]:
    """Python that would leave a file, as it stands or as a quoted text."""

    def put(folder: Path, keys: dict[str, Any]) -> None:
        keys[key] = f"{quote}__import__('os').system('touch {folder / 'marker'}'){quote}"

    return put


def header(shape: str) -> Callable[[bytes], bytes]:
    """The 128 bytes of header of an .npy file with another shape."""
    text = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return lambda content: content[:10] + text.ljust(117) + b"\n" + content[128:]


SCAN = made_up_scan()
BAD = {
    "init-file-missing": Bad(lambda folder, keys: keys.clear(), ("init.txt", "no such init file")),
    **{
        f"{key}-missing": Bad(without(key), (f"key {key} is missing",)) for key in ("M", "path", "wavelength")
    },
    "all-keys-missing": Bad(without("unit_cell", "hkl"), ("key unit_cell is missing", "key hkl is missing")),
    "misspelt-key": Bad(setting(completness_cutoff=0.5), ("completness_cutoff", "completeness_cutoff?")),
    "code-as-path": Bad(code_in("path", '"'), ("__import__", "no such folder")),
    "code-as-text": Bad(code_in("M", '"'), ("M: '__import__", "not a number")),
    "code-as-number": Bad(code_in("M"), ("M: must be one value",)),
    "code-in-list": Bad(setting(hkl="[2,0,().__class__]"), ("hkl", "not a number")),
    "path-is-no-folder": Bad(setting(path="/no/such/folder"), ("/no/such/folder", "path")),
    "path-is-a-file": Bad(lambda f, keys: keys.update(path=f / "omega.npy"), ("omega.npy", "path")),
    "no-array": Bad(lambda f, keys: (f / "dataarray.npy").unlink(), ("dataarray.npy", "getdata")),
    "no-axis": Bad(lambda f, keys: (f / "tilt2.npy").unlink(), ("tilt2.npy", "no such file")),
    "axis-too-short": Bad(saved("omega.npy", SCAN.omega[1:]), ("omega.npy", "(9,)", "10 positions")),
    "axis-descending": Bad(saved("tilt1.npy", SCAN.tilt1[::-1]), ("tilt1.npy", "ascending")),
    "axis-repeats": Bad(saved("tilt2.npy", [1.0, 1.0, 2.0, 3.0]), ("tilt2.npy", "ascending")),
    "axis-nan": Bad(saved("omega.npy", [np.nan, *SCAN.omega[1:]]), ("omega.npy", "finite")),
    "array-cut-short": Bad(rewritten("dataarray.npy", lambda b: b[:-1]), ("dataarray.npy", "cut short")),
    "array-empty": Bad(rewritten("dataarray.npy", lambda b: b""), ("dataarray.npy",)),
    "array-is-text": Bad(rewritten("dataarray.npy", lambda b: b"tilt1 tilt2"), ("dataarray.npy",)),
    "four-dimensions": Bad(
        saved("dataarray.npy", SCAN.data[0]), ("dataarray.npy", "(4, 10, 23, 17)", "five")
    ),
    "six-dimensions": Bad(saved("dataarray.npy", SCAN.data[None]), ("dataarray.npy", "five axes")),
    "no-pixels": Bad(saved("dataarray.npy", SCAN.data[..., :0]), ("dataarray.npy", "shape")),
    "fortran-order": Bad(saved("dataarray.npy", np.asfortranarray(SCAN.data)), ("dataarray.npy", "C order")),
    "complex-array": Bad(saved("dataarray.npy", SCAN.data + 1j), ("dataarray.npy", "complex128")),
    "measured-wrong-shape": Bad(saved("measured.npy", np.ones((5, 4), bool)), ("measured.npy", "(5, 4)")),
    "nothing-measured": Bad(saved("measured.npy", np.zeros((5, 4, 10), bool)), ("measured.npy", "nothing")),
    "all-omegas-excluded": Bad(setting(omega_exclude=[[0, 360]]), ("omega_exclude",)),
    "info-not-json": Bad(lambda f, keys: (f / "getdata.json").write_text("{"), ("getdata.json", "JSON")),
    "lab-with-one-tilt": Bad(
        lambda f, keys: (write_scan(f, made_up_scan(n_tilts=(1, 5))), keys.update(tilt_frame="lab")),
        ("scan", "both tilts", "1 x 5"),
    ),
    "output-below-a-file": Bad(lambda f, keys: keys.update(output=f / "omega.npy/out"), ("omega.npy/out",)),
    "output-is-a-file": Bad(lambda f, keys: keys.update(output=f / "omega.npy"), ("omega.npy", "output")),
    "new-output-and-cut-short": Bad(
        lambda f, keys: (
            rewritten("dataarray.npy", lambda b: b[:-9])(f, keys),
            keys.update(output=f / "new"),
        ),
        ("cut short",),
    ),
    "axis-of-text": Bad(saved("tilt1.npy", list("abcde")), ("tilt1.npy",)),
    "axis-of-complex-numbers": Bad(saved("tilt1.npy", SCAN.tilt1 + 1j), ("tilt1.npy",)),
    "array-float16": Bad(saved("dataarray.npy", SCAN.data.astype("f2")), ("dataarray.npy", "float16")),
    "array-header-broken": Bad(rewritten("dataarray.npy", header("((5,")), ("dataarray.npy",)),
    "array-header-absurd": Bad(
        rewritten("dataarray.npy", header(f"(5,4,10,23,{10**20})")), ("dataarray.npy",)
    ),
    "info-is-a-list": Bad(lambda f, keys: (f / "getdata.json").write_text("[1]"), ("getdata.json",)),
    "info-tilt-frame-unknown": Bad(
        lambda f, keys: (f / "getdata.json").write_text('{"tilt_frame": "labor"}'), ("labor",)
    ),
}
BAD_NAMES = list(BAD)


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def make_bad_folder(folder: Path, bad: Bad) -> list[str]:
    """A folder whose init file or scan is spoilt; returns its files."""
    write_scan(folder, SCAN)
    keys = {**BASE, "path": folder}
    bad.spoil(folder, keys)
    if keys:
        write_init(folder / "init.txt", keys)
    return listing(folder)


def check_failure(name: str, outcome: Outcome, folder: Path, before: list[str]) -> None:
    """One line that says what it must, and nothing left behind."""
    line = error_line(outcome, "recon3d")
    assert outcome.stderr.splitlines() == [line]
    for words in BAD[name].says:
        assert words in line
    assert listing(folder) == before
    assert not any("grain" in path or path.endswith(".part") for path in before)
