"""The communicator in a single process: the serial one, missing MPI, the pieces of an array."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from lib.errors import Recon3DError
from lib.parallel import messages
from lib.parallel.communicator import (
    OtherRankFailed,
    SerialComm,
    check_alarm,
    together,
    world,
)
from lib.parallel.messages import receive_array, send_array

# ---- One process ----


def test_the_serial_communicator() -> None:
    comm = SerialComm()
    assert (comm.rank, comm.size) == (0, 1)
    value = {"any": "object"}
    assert comm.bcast(value) is value
    assert comm.allgather(value) == [value]
    assert comm.gather(value) == [value]
    check_alarm(comm)


@pytest.mark.parametrize("error", [Recon3DError("f.edf", "cut short"), OSError(28, "full"), ValueError("x")])
def test_together_in_one_process_raises_what_was_raised(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, together(SerialComm()):
        raise error
    assert str(caught.value) == str(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_together_lets_an_interrupt_pass(error: type[BaseException]) -> None:
    with pytest.raises(error), together(SerialComm()):
        raise error


def test_the_error_of_the_user_survives_the_journey() -> None:
    error = pickle.loads(pickle.dumps(Recon3DError(Path("a/f.edf"), "cut short")))
    assert (error.where, error.what, str(error)) == ("a/f.edf", "cut short", "a/f.edf: cut short")
    assert isinstance(pickle.loads(pickle.dumps(OtherRankFailed())), OtherRankFailed)


# ---- Without MPI ----


def fake_mpi4py(kind: str) -> types.ModuleType | None:
    """What stands in for mpi4py: None is "not installed", the other has no MPI library."""
    if kind == "not installed":
        return None
    module = types.ModuleType("mpi4py")

    def no_library(name: str) -> None:
        raise RuntimeError("cannot load MPI library")

    module.__getattr__ = no_library  # type: ignore[method-assign]
    return module


without_mpi = pytest.mark.parametrize("kind", ["not installed", "no library"])


@without_mpi
def test_world_of_one_process_without_mpi(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", fake_mpi4py(kind))
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(world(), SerialComm)
    monkeypatch.setenv("PMI_SIZE", "1")
    assert isinstance(world(), SerialComm)


@without_mpi
@pytest.mark.parametrize("launcher", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_world_of_many_processes_without_mpi(
    kind: str, launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process would believe that it is alone, and all would write the same files."""
    monkeypatch.setitem(sys.modules, "mpi4py", fake_mpi4py(kind))
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(launcher, "3")
    with pytest.raises(
        Recon3DError, match="^mpirun of .*: 3 processes were started .* but mpi4py with an MPI library is not"
    ):
        world()


def test_the_limit_of_a_message_fits_32_bits() -> None:
    assert 0 < messages.LARGEST < 2**30


def test_array_in_one_piece_or_many_has_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pieces of an array follow each other without gap or overlap."""
    monkeypatch.setattr(messages, "LARGEST", 28)
    sent: list[np.ndarray] = []

    class Done:
        def Test(self) -> bool:
            return True

    class Recorder:
        def Isend(self, part: np.ndarray, dest: int, tag: int) -> Done:
            sent.append(part.copy())
            return Done()

        def Irecv(self, part: np.ndarray, source: int, tag: int) -> Done:
            part[...] = sent.pop(0)
            return Done()

    array = np.arange(60, dtype=np.int32).reshape(3, 4, 5)
    send_array(Recorder(), array, 1)
    assert [part.size for part in sent] == [28] * 8 + [16]
    received = np.zeros_like(array)
    receive_array(Recorder(), received, 0)
    np.testing.assert_array_equal(received, array)
