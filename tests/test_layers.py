"""Who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

MODULES = sorted((ROOT / "lib").glob("*.py"))
TESTS = sorted((ROOT / "tests").glob("*.py"))
PURE = (
    "geometry",
    "tilts",
    "motors",
    "frames",
    "kernels",
    "jit",
    "partition",
    "backprojection",
    "noise",
    "phantom",
    "colours",
    "mlem",
    "maps",
    "map_kernels",
    "responses",
    "scan_types",
    "strain",
    "shape",
    "uncertainty",
    "alignment",
    "spots",
    "cleaning",
)
BLOCKED = ("mpi4py", "fabio", "h5py")

IMPORT_WITHOUT = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

BLOCKED, pure = sys.argv[1].split(","), sys.argv[2].split(",")
sys.meta_path.insert(0, Blocker())
try:
    import h5py
except ImportError:
    pass
else:
    sys.exit("nothing is blocked")
for name in pure:
    try:
        importlib.import_module(f"lib.{name}")
    except ImportError as error:
        print(f"lib.{name}: {error}")
print("loaded", *sorted(m for m in sys.modules if m.startswith("lib.")))
"""


def test_pure_layer_needs_no_mpi_and_no_file_formats():
    command = [sys.executable, "-c", IMPORT_WITHOUT, ",".join(BLOCKED), ",".join(PURE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 1, lines
    loaded = {name.removeprefix("lib.") for name in lines[0].split()[1:]}
    assert loaded == {*PURE, "errors"}  # nor do they pull in the layers above


def imports(path):
    """Every import statement of a file: (level, module, names)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_only_relative_imports_inside_the_package(path):
    """It is installed under another name, recon3d_lib."""
    own = {module.stem for module in MODULES}
    for level, module, names in imports(path):
        assert level <= 1
        if level == 0:
            assert module.split(".")[0] not in {"lib", "recon3d", "recon3d_lib", "getdata"} | own - {
                "parallel"
            }
        else:
            assert {module or name for name in names} <= own | {"__version__"}


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in (*MODULES, *TESTS)])
def test_no_module_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("script", ["getdata", "recon3d"])
def test_scripts_only_call_the_command_line(script):
    path = ROOT / f"{script}.py"
    assert len(path.read_text().splitlines()) <= 15
    assert list(imports(path)) == [(0, "lib.cli", (script,))]


def test_every_module_is_looked_at():
    assert len(MODULES) > 15
    assert {f"{name}.py" for name in PURE} <= {path.name for path in MODULES}
