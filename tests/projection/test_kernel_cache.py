"""Compiled kernels on disk: torn, foreign or unwritable files cost time and one line, nothing else."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest

from lib.projection import kernel_cache
from lib.projection.jit import kernel
from tests import file_systems
from tests.running import ROOT

COMPILED_ANEW = "compiled anew"
NOT_KEPT = "the next run compiles them again"


def double(x):  # type: ignore[no-untyped-def]
    return 2 * x


def treble(x):  # type: ignore[no-untyped-def]
    return 3 * x


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, as NUMBA_CACHE_DIR would say."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_cache, "_in_memory", {})
    monkeypatch.setattr(kernel_cache, "_silent", False)
    yield tmp_path / "cache"


def start(function: Callable[..., Any] = double) -> Any:
    """The kernel as a new process finds it."""
    kernel_cache._in_memory.clear()
    kernel_cache._silent = False
    return kernel()(function)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".nbi", ".nbc"))


def n_compiled(dispatcher: Any) -> int:
    return sum(dispatcher.stats.cache_misses.values())


def one_line(text: str, end: str) -> None:
    """A warning of one line that ends so."""
    assert text.startswith("recon3d: warning: ") and text.endswith(f"; {end}\n"), text
    assert text.count("\n") == 1


def test_kept_and_found_again(folder, capsys):
    first, second = start(), start()
    for dispatcher, n in ((first, 1), (second, 0)):
        assert dispatcher(21) == 42
        assert n_compiled(dispatcher) == n
    assert [path.suffix for path in files(folder)] == [".nbc", ".nbi"]
    assert second(1.5) == 3.0 and second(np.arange(3.0)).tolist() == [0.0, 2.0, 4.0]
    assert len(files(folder)) == 6  # each signature has its own two
    assert capsys.readouterr().err == ""


def lost(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_bytes(b"<html>404</html>\n" * 99)


def zeros(path: Path) -> None:
    """As after a crash: the size is right, a block was never written."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[2 * len(data) // 3] ^= 4
    path.write_bytes(data)


def other_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"what": "not this"}) * 3)


def of_another_version(path: Path) -> None:
    path.write_bytes(pickle.dumps("0.1.0") + b"\x80\x05nothing that can be read")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_in_a_circle(path: Path) -> None:
    """Cannot be opened, not even by root."""
    path.unlink()
    path.symlink_to(path)


def another_kernels(path: Path) -> None:
    """The code, or both files, of the same signature of another kernel."""
    assert start(treble)(21) == 63
    for other in (p for p in files(path.parents[1]) if "treble" in p.name):
        (mine,) = (p for p in files(path.parent) if "double" in p.name and p.suffix == other.suffix)
        if mine == path or path.suffix == ".nbi":
            mine.write_bytes(other.read_bytes())


DAMAGE = (
    lost, empty, text, zeros, one_bit, other_pickle, of_another_version, a_folder, a_link_in_a_circle,
    another_kernels,
)  # fmt: skip
SILENT = (lost, one_bit)  # nothing was torn; a bit of the index may make it that of an older source


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damaged_files_are_compiled_anew(folder, capsys, damage, suffix):
    start()(21)
    (path,) = (path for path in files(folder) if path.suffix == suffix)
    damage(path)
    found, said = start(), capsys.readouterr().err
    assert said == ""
    assert found(21) == 42
    said = capsys.readouterr().err
    if said or damage not in SILENT:
        one_line(said, COMPILED_ANEW)
    assert n_compiled(found) == 1
    if damage is not a_folder:  # else the next start finds it whole
        again = start()
        assert again(21) == 42
        assert n_compiled(again) == 0
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_cut_at_any_byte(folder, capsys, suffix):
    """Nothing of a file that was cut short is believed, wherever the cut is."""
    dispatcher = start()
    dispatcher(21)
    (path,) = (path for path in files(folder) if path.suffix == suffix)
    whole = path.read_bytes()
    cache, key = dispatcher._cache, dispatcher.overloads
    (signature,) = (cres.signature for cres in key.values())
    target = dispatcher.targetctx
    for n in range(0, len(whole), max(1, len(whole) // 199)):
        kernel_cache._in_memory.clear()
        kernel_cache._silent = False
        path.write_bytes(whole[:n])
        assert cache.load_overload(signature.args, target) is None
        one_line(capsys.readouterr().err, COMPILED_ANEW)
    path.write_bytes(whole)
    assert cache.load_overload(signature.args, target) is not None
    assert start()(21) == 42


@pytest.mark.parametrize("end", [b"", b"/x", b"/x/y"])
def test_a_cache_that_is_no_folder(folder, capsys, end):
    folder.write_bytes(b"")
    numba.config.CACHE_DIR += end.decode()
    assert start()(21) == 42
    one_line(capsys.readouterr().err, NOT_KEPT)


UNWRITABLE = [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT]
RUN = """
from lib.projection.jit import kernel
from tests.projection.test_kernel_cache import double, treble
print(kernel()(double)(21), kernel()(treble)(21))
"""


def run_alone(*before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "HOME")}
    command = [*before, sys.executable, "-c", RUN]
    return subprocess.run(
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.skipif(not file_systems.SUPPORTED, reason="seccomp filters are Linux's")
@pytest.mark.parametrize("error", UNWRITABLE, ids=errno.errorcode.get)
def test_nothing_can_be_written(tmp_path, error):
    """Read-only, not ours, full, over the quota: the run goes on without a cache, and without a HOME."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")} if error in UNWRITABLE[::2] else {}
    python, script, kind, number = file_systems.on("writing", error)
    done = run_alone(python, script, kind, number, **environment)
    assert (done.returncode, done.stdout) == (0, "42 63\n"), done.stderr
    one_line(done.stderr, NOT_KEPT)
    assert os.strerror(error) in done.stderr
    assert files(tmp_path) == []


def test_the_second_folder_is_used_where_the_first_cannot_be(tmp_path, monkeypatch, capsys):
    """An installation that is not the user's: the user's own cache."""
    (tmp_path / "installed").write_bytes(b"")
    both = [tmp_path / "installed" / "lib", tmp_path / "own" / "lib"]
    monkeypatch.setattr(kernel_cache, "folders", lambda: both)
    first, second = start(), start()
    assert first(21) == second(21) == 42
    assert (n_compiled(first), n_compiled(second)) == (1, 0)
    assert len(files(both[1])) == 2
    assert capsys.readouterr().err == ""


def test_folders(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/far/away")
    beside, own = kernel_cache.folders()
    assert beside == ROOT / "lib" / "__pycache__" / kernel_cache._PACKAGE
    assert own == Path("/far/away/recon3d") / kernel_cache._PACKAGE
    monkeypatch.setattr(numba.config, "CACHE_DIR", "/given")
    assert kernel_cache.folders() == [Path("/given") / kernel_cache._PACKAGE]


def test_many_that_compile_at_once(tmp_path):
    """They do not tear each other's files: what they leave is whole."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN],
            cwd=ROOT,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.communicate(timeout=120) == ("42 63\n", "")
    left = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert left == files(tmp_path) and len(left) == 4
    stamps = [path.stat().st_mtime_ns for path in left]
    done = run_alone(NUMBA_CACHE_DIR=str(tmp_path))
    assert (done.stdout, done.stderr) == ("42 63\n", "")
    assert [path.stat().st_mtime_ns for path in left] == stamps  # all was found


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_has_changed(folder):
    inner = kernel()(double)
    names = {"inner": inner, "__name__": __name__, "__file__": __file__}
    exec(compile("def outer(x):\n    return inner(x) + 1\n", __file__, "exec"), names)
    outer: Any = names["outer"]
    assert kernel()(outer)(21) == 43
    same = kernel()(outer)
    assert same(21) == 43 and n_compiled(same) == 0
    inner._cache.stamp = "the file of the inner kernel has changed"
    kernel_cache._in_memory.clear()
    changed = kernel()(outer)
    assert changed(21) == 43 and n_compiled(changed) == 1


elsewhere = ModuleType("elsewhere")


@pytest.mark.parametrize(
    "source",
    [
        "def outer(x):\n    return x * GIVEN\n",
        "def outer(x):\n    return x * elsewhere.GIVEN\n",
        "def outer(x):\n    return sum([x * GIVEN for _ in range(1)])\n",
        "def outer(x):\n    return later(x)\n",
    ],
    ids=["by name", "of a module", "in an inner function", "of a kernel that is defined later"],
)
@pytest.mark.parametrize("values", [(2, 3), (2, 2.0), (np.float32(2), np.float64(2))], ids=str)
def test_a_kernel_is_compiled_anew_when_a_constant_of_another_module_has_changed(folder, source, values):
    """It is not in the kernel's own file, but numba writes it into the code; its type counts too."""

    def outer(value: Any) -> Any:
        elsewhere.GIVEN = value  # type: ignore[attr-defined]
        names = {"GIVEN": value, "elsewhere": elsewhere, "__name__": __name__, "__file__": __file__}
        exec(compile(source, __file__, "exec"), names)
        dispatcher = start(names["outer"])
        exec(compile("def later(x):\n    return x * GIVEN\n", __file__, "exec"), names)
        names["later"] = kernel()(names["later"])
        return dispatcher

    one, other = values
    for value, n in ((one, 1), (one, 0), (other, 1), (other, 0)):
        found = outer(value)
        assert found(21) == 21 * value and type(found(21)) is type(21 * np.array(value).item())
        assert n_compiled(found) == n, value


@pytest.mark.parametrize("kind", [tuple, np.array], ids=["tuple", "array"])
def test_constants_of_several_numbers_count(folder, kind):
    for values, n in (([1, 2], 1), ([1, 4], 1), ([1, 4], 0)):
        names = {"GIVEN": kind(values), "__name__": __name__, "__file__": __file__}
        exec(compile("def outer(x):\n    return x * GIVEN[1]\n", __file__, "exec"), names)
        found = start(names["outer"])
        assert found(3) == 3 * values[1] and n_compiled(found) == n


def test_loaded_if_it_is_kept_while_another_rank_compiles(folder, capsys):
    other = start()
    with kernel_cache.only_kept(), pytest.raises(kernel_cache.NotKept):
        other(21)
    assert not files(folder)
    start()(21)
    other = start()
    with kernel_cache.only_kept():
        assert other(21) == 42 and n_compiled(other) == 0
    for path in files(folder):
        path.write_bytes(b"torn")
    other = start()
    with kernel_cache.only_kept(), pytest.raises(kernel_cache.NotKept):
        other(21)
    assert other(21) == 42
    assert capsys.readouterr().err == ""  # it is rank 0 that speaks of troubles


def test_handed_over_to_another_rank(folder, capsys):
    """What rank 0 has needs no file, and is not compiled; the others do not speak of troubles."""
    start()(21)
    handed = dict(kernel_cache._in_memory)
    for path in files(folder):
        path.write_bytes(b"torn")

    class OtherRank:
        rank = 1

        def bcast(self, _: object) -> dict[str, bytes]:
            return handed

    other = start()
    kernel_cache.hand_over(OtherRank())
    assert other(21) == 42 and n_compiled(other) == 0
    assert other(2.5) == 5.0 and n_compiled(other) == 1
    assert capsys.readouterr().err == ""
