"""What `pip install` gives, and what every command does with --version, --help and nonsense."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lib import __version__, cli
from tests.running import ROOT

COMMANDS = (
    "recon3d",
    "recon3d-getdata",
    "recon3d-simulate",
    "recon3d-check",
    "recon3d-cells",
    "recon3d-compare",
    "recon3d-convert",
)
NOT_OURS = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "demo")

INIT = """\
path  array
unit_cell  [4.0495,4.0495,4.0495,90.,90.,90.]
hkl  [2,0,0]
wavelength  0.7293
M  3.0
grain_dim  [12,12,12]
grain_steps  [12,12,12]
method  backprojection
completeness_cutoff  0.7
stem  raw/grain_
sim_background  raw/dark_
sim_background_frames  3
detx_size  40
detz_size  36
ang_types  [samrz,samry,diffrx]
ang_steps  [3,3,8]
ang_min  [-0.1,-0.1,0.]
ang_max  [0.1,0.1,315.]
sim_points  3000
"""


def copy_of_the_tree(target):
    """The files that belong to the project, as git knows them, so that building leaves no trace here."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):  # not a clone, but an unpacked archive
        shutil.copytree(ROOT, target, ignore=NOT_OURS)
        return
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def call(*command, cwd, code=0):
    """Run a command as a user with a plain environment does; returns its result."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == code, (command, result.stdout[-2000:], result.stderr[-2000:])
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    copy_of_the_tree(folder / "tree")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    call(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "tree", cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(about).decode()
        entry_points = archive.read(about.replace("METADATA", "entry_points.txt")).decode()
        top_level = archive.read(about.replace("METADATA", "top_level.txt")).decode()
    info = about.split("/")[0]
    modules = {name for name in names if not name.startswith(f"{info}/")}
    library = wheel.parent / "tree" / "lib"
    assert modules == {
        f"recon3d_lib/{path.relative_to(library)}"
        for end in ("py", "js")
        for path in library.rglob(f"*.{end}")
    }
    assert top_level.split() == ["recon3d_lib"]
    assert f"Version: {__version__}\n" in metadata
    assert re.search(r"^Requires-Python: >=3\.10$", metadata, re.MULTILINE)
    needed = set(re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE))
    assert {"numpy", "scipy", "fabio", "h5py", "matplotlib", "plotly", "numba", "mpi4py"} <= needed
    assert not needed & {"mpich", "pytest", "hypothesis", "ruff", "mypy", "vtk", "silx"}  # only for extras
    assert set(re.findall(r"^([\w-]+) = recon3d_lib\.cli:", entry_points, re.MULTILINE)) == set(COMMANDS)


def test_installed_in_an_empty_environment_it_works_from_anywhere(wheel, tmp_path):
    """pip with the index, as a user does it; no MPI library comes along, so this is a serial run."""
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    scripts = tmp_path / "env" / "bin"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", scripts / "python")
    call(*pip, "install", "--quiet", "--no-compile", wheel, cwd=tmp_path)

    work = tmp_path / "elsewhere"
    work.mkdir()
    where = call(scripts / "python", "-c", "import recon3d_lib; print(recon3d_lib.__file__)", cwd=work).stdout
    assert Path(where.strip()).is_relative_to(tmp_path / "env")
    assert call(scripts / "recon3d-getdata", "--version", cwd=work).stdout == f"Recon3D {__version__}\n"
    assert call(scripts / "recon3d", "--help", cwd=work).stdout.startswith("usage: recon3d ")

    (work / "init.txt").write_text(INIT)
    call(scripts / "recon3d-simulate", "init.txt", cwd=work)
    arguments = ("raw", "grain_", "raw", "dark_", "20,18", "40,36", ".", "array")
    gathered = call(scripts / "recon3d-getdata", *arguments, cwd=work)
    assert "3 x 3 tilts x 8 omegas x 40 x 36 pixels" in gathered.stdout
    assert "array/grain_ang.npy" in call(scripts / "recon3d", "init.txt", cwd=work).stdout
    assert sorted(path.name for path in work.iterdir()) == ["array", "init.txt", "raw"]
    truth, result = np.load(work / "raw" / "truth.npy"), np.load(work / "array" / "grain_ang.npy")
    inside, found = truth[..., 2] > 0.5, np.isfinite(result[..., 0])
    assert 2 * (inside & found).sum() / (inside.sum() + found.sum()) > 0.8
    missing = call(scripts / "recon3d", "absent.txt", cwd=work, code=1)
    assert missing.stderr.splitlines() == [
        "recon3d: error: absent.txt: no such init file; start from examples/init_example.txt"
    ]


# ---- Every command ----

SCRIPTS = {
    "getdata": "getdata.py",
    "recon3d": "recon3d.py",
    "simulate": "-m lib simulate",
    "compare": "-m lib compare",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_version_is_printed_once_on_three_ranks(run, name):
    result = run(SCRIPTS[name], "--version", ranks=3)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"Recon3D {__version__}\n", "")


@pytest.mark.parametrize("name", ["getdata", "recon3d"])
def test_help_is_printed_once_on_three_ranks(run, name):
    result = run(SCRIPTS[name], "--help", ranks=3)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: {name} ")
    assert (
        result.stdout.count("usage:")
        == result.stdout.count("--quiet ")
        == 1 + result.stdout.count("[--quiet ")
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_serial_help_and_version(name, capsys):
    assert getattr(cli, name)(["--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: {name} ")
    assert getattr(cli, name)(["--version"]) == 0
    assert capsys.readouterr().out == f"Recon3D {__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("a", "b", "c"), ("init.txt", "--no-such-option")], ids=repr)
@pytest.mark.parametrize("name", SCRIPTS)
def test_wrong_usage_exits_with_2(name, arguments, capsys):
    assert getattr(cli, name)(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"usage: {name} ")
    assert f"{name}: error: " in captured.err


@pytest.mark.parametrize(
    "arguments", [("20;18", "40,36"), ("20,18", "40"), ("a,b", "40,36"), ("1.5,2", "40,36")]
)
def test_pairs_of_numbers_are_checked(arguments, capsys):
    assert cli.getdata(["raw", "g_", "-", "-", *arguments, ".", "out"]) == 2
    assert "must be two whole numbers, such as 512,512" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["getdata", "recon3d"])
def test_wrong_usage_exits_with_2_on_three_ranks(run, name):
    result = run(SCRIPTS[name], ranks=3)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("usage:") == 1
    assert result.stderr.count(f"{name}: error: ") == 1
