"""The simulation as a program: the same files on any number of ranks, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import h5py
import pytest

from lib import cli
from lib.errors import Recon3DError
from lib.initfile.parse import format_initfile
from lib.parallel.communicator import SerialComm
from lib.simulation import simulate
from tests.running import error_line
from tests.simulation.simulated_scan import parameters, write

# ---- Ranks ----


def digest(folder):
    """Hash of every file; of HDF5 files, of what they hold but for the date."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".vtkhdf":
            found[path.name] = hdf5_contents(path)
        elif path.is_file():
            found[path.name] = sha256(path.read_bytes()).hexdigest()
    return found


def hdf5_contents(path):
    found = {}

    def visit(name, item):
        found[name, "attributes"] = {key: repr(value) for key, value in item.attrs.items()}
        if isinstance(item, h5py.Dataset) and not name.endswith("/date"):
            found[name, "values"] = item[()].tobytes() if item.shape else item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_the_same_files_on_any_number_of_ranks(run, tmp_path):
    """Two omegas only, so that the third rank has nothing to do."""
    raw = tmp_path / "raw"
    params = parameters(
        stem=str(raw / "g_"),
        sim_background=str(raw / "dark_"),
        sim_background_frames=2,
        sim_jitter=0.1,
        ang_steps=(2, 3, 2),
        sim_points=2000,
    )
    (tmp_path / "init.txt").write_text(format_initfile(params))
    found = []
    for ranks in (None, 1, 2, 3):
        result = run("-m lib simulate", tmp_path / "init.txt", ranks=ranks)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("files, ") == result.stdout.count("12 frames of 48 x 44 pixels") == 1
        found.append(digest(raw))
        raw.rename(tmp_path / f"raw_{ranks}")
    assert len(found[0]) == 12 + 2 + 3
    assert all(other == found[0] for other in found[1:])


# ---- What is refused ----


def test_the_stem_is_needed(run, tmp_path):
    (tmp_path / "init.txt").write_text(format_initfile(parameters()))
    line = error_line(run("-m lib simulate", tmp_path / "init.txt", ranks=2), "simulate")
    assert line == "simulate: error: key stem: is missing: folder and beginning of the names of the frames"


def test_frames_are_never_overwritten(run, tmp_path):
    params, files = write(tmp_path, ang_steps=(2, 2, 2), sim_points=1000)
    before = digest(tmp_path)
    (tmp_path / "init.txt").write_text(format_initfile(replace(params, sim_seed=9)))
    line = error_line(run("-m lib simulate", tmp_path / "init.txt", ranks=2), "simulate")
    assert line == f"simulate: error: {params.stem}*.edf: files exist; remove them or choose another stem"
    (tmp_path / "init.txt").unlink()
    assert digest(tmp_path) == before
    for path in files[1:]:
        path.unlink()
    with pytest.raises(Recon3DError, match="files exist"):
        simulate.run(params, SerialComm(), quiet=True)


def test_background_frames_are_never_overwritten(tmp_path):
    first = parameters(
        stem=str(tmp_path / "a" / "g_"), sim_background=str(tmp_path / "d_"), ang_steps=(2, 2, 2)
    )
    simulate.run(first, SerialComm(), quiet=True)
    second = replace(first, stem=str(tmp_path / "b" / "g_"))
    with pytest.raises(Recon3DError, match=r"d_\*\.edf: files exist"):
        simulate.run(second, SerialComm(), quiet=True)
    assert not list((tmp_path / "b").glob("*.edf"))


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "other_0.edf").write_text("x")
    (tmp_path / "raw" / "g_notes.txt").write_text("x")
    _, files = write(tmp_path, ang_steps=(2, 2, 2), sim_points=1000)
    assert len(files) == 8


def test_background_frames_must_not_count_as_frames(tmp_path):
    params = parameters(stem=str(tmp_path / "g_"), sim_background=str(tmp_path / "g_dark_"))
    with pytest.raises(Recon3DError, match="sim_background: names like 'g_...' would count as frames"):
        simulate.run(params, SerialComm(), quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_frames_must_not_count_as_background_frames(tmp_path):
    params = parameters(
        stem=str(tmp_path / "g_scan_"), sim_background=str(tmp_path / "g_"), ang_steps=(2, 2, 2)
    )
    with pytest.raises(Recon3DError):
        simulate.run(params, SerialComm(), quiet=True)


def test_the_truth_of_another_scan_is_not_overwritten(tmp_path):
    write(tmp_path, ang_steps=(2, 2, 2), sim_points=1000)
    before = (tmp_path / "raw" / "truth.npy").read_bytes()
    with pytest.raises(Recon3DError):
        write(
            tmp_path, ang_steps=(2, 2, 2), stem=str(tmp_path / "raw" / "second_"), sim_grain=(2.0, 2.0, 2.0)
        )
    assert (tmp_path / "raw" / "truth.npy").read_bytes() == before


def test_a_stem_that_names_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Recon3DError, match="stem"):
        simulate.run(parameters(stem=".", ang_steps=(2, 2, 2)), SerialComm(), quiet=True)


def test_a_motor_name_with_a_blank_is_refused(tmp_path):
    with pytest.raises(Recon3DError, match="ang_types"):
        write(tmp_path, ang_types=("my motor", "b", "c"), ang_steps=(2, 2, 2), sim_points=1000)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    params = parameters(stem=str(tmp_path / "file" / "g_"), ang_steps=(2, 2, 2))
    (tmp_path / "init.txt").write_text(format_initfile(params))
    assert cli.simulate([str(tmp_path / "init.txt")], SerialComm()) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("simulate: error: ")
    assert str(tmp_path / "file") in lines[0]
