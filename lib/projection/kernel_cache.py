"""Where compiled kernels are kept: in memory for the other ranks, on disk for the next run.

numba's own cache ends the run where a file of it is torn or cannot be written, and mixes up the kernels of
two runs that compile at the same time. This one keeps numba's files, but never fails: what cannot be read is
compiled anew, what cannot be written is compiled again by the next run, and one line says so. Each
signature, processor and version of numba has its own two files, which appear when they are whole; a digest
tells whether they still are. The folders: `NUMBA_CACHE_DIR` where the user has set it, else beside the
package, else in the user's own cache.

There is one folder for each name of the package: run from a clone it is `lib`, installed in place it is
`recon3d_lib` as well; what was compiled under one name cannot be loaded under the other.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.serialize import dumps

_PACKAGE = __name__.partition(".")[0]

_in_memory: dict[str, bytes] = {}  # code by name of its files: what this process has used, or was handed
_silent = False  # after the first trouble, and on ranks other than 0
_compiles = True


class NotKept(Exception):
    """Code that this process may not compile is kept nowhere."""


@contextmanager
def only_kept() -> Iterator[None]:
    """Of a rank other than 0: within it what is not kept is not compiled, but `NotKept`."""
    global _compiles, _silent
    _compiles, _silent = False, True
    try:
        yield
    finally:
        _compiles = True


def hand_over(comm: Any) -> None:
    """Give all ranks the kernels that rank 0 has compiled or found; they need no files then. Collective."""
    global _silent
    _in_memory.update(comm.bcast(_in_memory))
    _silent = _silent or comm.rank > 0


def folders() -> list[Path]:
    """Where kernels are looked for; they are kept in the first that can be written."""
    if numba.config.CACHE_DIR:
        return [Path(numba.config.CACHE_DIR) / _PACKAGE]
    beside = Path(__file__).parents[1] / "__pycache__"
    own = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never fails
    return [beside / _PACKAGE, Path(own) / "recon3d" / _PACKAGE]


def _say(trouble: str, error: Exception, remedy: str) -> None:
    """One line for the run: where one file is in trouble others mostly are too."""
    global _silent
    if not _silent:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        sys.stderr.write(f"recon3d: warning: {trouble} ({reason or type(error).__name__}); {remedy}\n")
    _silent = True


class KernelCache(FunctionCache):
    """The compiled code of one kernel, for all its signatures."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._function = function

    @functools.cached_property
    def stamp(self) -> Any:
        """Tells whether compiled code is that of this kernel; only now is all there that it names."""
        self.stamp = own = self._impl.locator.get_source_stamp()  # for one that calls itself
        return _stamp(self._function, own)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled code for a signature, None where there is none."""
        target_context.refresh()
        key = self._index_key(sig, target_context.codegen())
        name, trouble = self._name_of(key), None
        for folder in (None, *self._folders()):
            try:
                code = _Files(folder, name, self.stamp).load(key) if folder else _in_memory.get(name)
                if code is not None:
                    found = self._impl.rebuild(target_context, pickle.loads(code))  # noqa: S301 - our own
                    _in_memory[name] = code
                    return found
            except Exception as error:  # a torn pickle raises of all kinds
                trouble = trouble or (folder, error)
        if trouble:
            _say(f"{trouble[0]}: the kernels kept there cannot be read", trouble[1], "compiled anew")
        if not _compiles:
            raise NotKept(name)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled code of a signature where that is possible."""
        if not self._impl.check_cachable(data):
            return
        key = self._index_key(sig, data.codegen)
        name, code = self._name_of(key), dumps(self._impl.reduce(data))
        _in_memory[name] = code
        for folder in self._folders():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _Files(folder, name, self.stamp).save(key, code)
                return
            except Exception as error:  # mostly OSError: not ours, full, read-only, not a folder
                trouble = folder, error
        _say(f"{trouble[0]}: compiled kernels cannot be kept", trouble[1], "the next run compiles them again")

    def _folders(self) -> list[Path]:
        room = Path(self._impl.locator._py_file).parent  # each clone has a folder of its own
        name = f"{room.name}_{hashlib.sha256(str(room).encode()).hexdigest()[:16]}"
        return [folder / name for folder in folders()]

    def _name_of(self, key: Any) -> str:
        """Of the files; without the bytecode of the kernel, so that a changed one replaces its older self."""
        signature, target, _ = key
        what = repr((numba.__version__, self._py_func.__module__, signature, target))
        return f"{self._impl.filename_base}.{hashlib.sha256(what.encode()).hexdigest()[:16]}"


class _Locator:
    """What numba asks about the source of a kernel; the folders are chosen above."""

    def __init__(self, file: str) -> None:
        self._py_file = file

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_file)

    def get_source_stamp(self) -> bytes:
        return _digest_of_file(self._py_file)

    def get_disambiguator(self) -> str:
        return "0"  # the names of kernels in a file differ

    def get_cache_path(self) -> str:
        return str(folders()[0])


@functools.cache
def _digest_of_file(file: str) -> bytes:
    return hashlib.sha256(Path(file).read_bytes()).digest()


class _Kernel(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


KernelCache._impl_class = _Kernel


class _Files(IndexDataCacheFile):
    """The two files of one compiled kernel: the index with its key, and the code with its digest."""

    def __init__(self, folder: Path, name: str, stamp: Any) -> None:
        super().__init__(str(folder), name, stamp)

    def save(self, key: Any, code: bytes) -> None:
        name = self._data_name(1)
        self._save_data(name, (self._digest(key, code), code))  # first: who finds the index finds the code
        self._save_index({key: name})

    def load(self, key: Any) -> bytes | None:
        """The code; None where there is none, or an older source's. Raises of all kinds where it is torn."""
        try:
            with Path(self._index_path).open("rb") as stream:
                version, (stamp, names) = pickle.load(stream), pickle.load(stream)  # noqa: S301 - our own
            if version != numba.__version__:
                raise ValueError(f"{self._index_path} is foreign")
            if stamp != self._source_stamp or key not in names:
                return None
            digest, code = self._load_data(self._data_name(1))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if digest != self._digest(key, code):
            raise ValueError(f"{self._index_path} belongs to another code")
        return code

    def _digest(self, key: Any, code: bytes) -> bytes:
        return hashlib.sha256(repr((self._index_name, self._source_stamp, key)).encode() + code).digest()


def _stamp(function: Any, own: Any) -> tuple[Any, ...]:
    """Of the kernel's source, and of what becomes part of its code: kernels that it calls, and constants."""
    used = ((name, _described(value)) for name, value in _globals_of(function.__code__, function.__globals__))
    return own, *((name, what) for name, what in used if what is not None)


def _globals_of(code: CodeType, names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a function finds by name, in its module or in one that it names, and what lies inside it."""
    for name in code.co_names:
        value = names.get(name)
        yield name, value
        if isinstance(value, ModuleType):
            some = ((more, getattr(value, more, None)) for more in code.co_names)
            yield from ((f"{name}.{more}", found) for more, found in some)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _globals_of(inner, names)


def _described(value: Any) -> Any:
    """What compiled code depends on of a value, to be compared; None where that is nothing."""
    if isinstance(cache := getattr(value, "_cache", None), KernelCache):
        return cache.stamp
    if isinstance(value, tuple):
        return tuple(_described(item) for item in value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, bool | int | float | complex | str | bytes | np.generic | np.dtype | type):
        return type(value).__name__, repr(value)
    return None
