"""The rooms of lib/: who may import whom, what is pure, and how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.running import ROOT

LIB = ROOT / "lib"
MODULES = sorted(LIB.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# From top to bottom: each may import what stands below it. Those side by side do not know each
# other.
ORDER = (
    ("__main__",),
    ("cli",),
    ("api", "convert"),
    ("reconstruction",),
    ("simulation", "comparison"),
    ("result",),
    ("checks",),
    ("mlem", "backprojection", "getdata"),
    ("scan",),
    ("initfile",),
    ("page",),
    ("projection",),
    ("cells",),
    ("frames",),
    ("parallel",),
    ("physics",),
    ("errors", "version"),
)
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
PURE = ("physics", "projection", "cells")  # rooms
PURE_FILES = (
    "scan.alignment",
    "scan.extent",
    "scan.spots",
    "mlem.expectation",
    "mlem.lean",
    "mlem.maps",
    "mlem.map_kernels",
    "mlem.response",
    "mlem.shape",
    "mlem.standstill",
    "mlem.errors",
    "mlem.halves",
    "mlem.simulated",
    "mlem.uncertainty",
    "backprojection.sums",
    "backprojection.rocking",
    "getdata.motors",
    "getdata.motor_table",
    "getdata.gamma",
    "getdata.grid",
    "getdata.omega",
    "getdata.strays",
    "getdata.cleaning",
    "frames.pixels",
    "parallel.partition",
    "simulation.phantom",
    "comparison.maps",
    "comparison.matching",
    "comparison.registration",
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


def name_of(path: Path) -> str:
    """The dotted name of a file inside lib, of a room for its __init__."""
    parts = path.relative_to(LIB).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


def room_of(name: str) -> str:
    return name.partition(".")[0]


def imports(path):
    """Every import statement of a file: (level, module, names)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names)


def targets(path):
    """Dotted names of the files of lib that a file imports."""
    for level, module, names in imports(path):
        if level == 0:
            continue
        above = list(path.relative_to(LIB).parts[:-level])
        base = ".".join([*above, *module.split(".")] if module else above)
        for name in names:
            inner = f"{base}.{name}" if base else name
            yield inner if inner in NAMES else base


GRAPH = {name: set(targets(path)) - {name, ""} for name, path in NAMES.items() if name}


def circles(graph):
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return []


def test_every_import_of_the_package_is_understood():
    for name, found in GRAPH.items():
        assert found <= set(NAMES), name
    assert sum(map(len, GRAPH.values())) > 200


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_imports_run_down(name):
    mine = room_of(name)
    for other in map(room_of, GRAPH[name]):
        assert other == mine or LEVEL[other] > LEVEL[mine], f"{name} imports {other}"


def test_no_circle_of_files_or_rooms():
    assert circles(GRAPH) == []
    rooms = {room_of(name): set() for name in GRAPH}
    for name, found in GRAPH.items():
        rooms[room_of(name)] |= {room_of(other) for other in found} - {room_of(name)}
    assert circles(rooms) == []


def test_a_circle_and_an_import_that_runs_up_would_be_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert LEVEL["physics"] > LEVEL["mlem"] > LEVEL["result"]


def test_every_room_and_file_has_its_level():
    assert {room_of(name) for name in GRAPH} == set(LEVEL)


@pytest.mark.parametrize("room", [path.parent for path in LIB.glob("*/__init__.py")], ids=lambda p: p.name)
def test_a_room_says_what_it_holds_and_no_more(room):
    tree = ast.parse((room / "__init__.py").read_text())
    assert len(tree.body) == 1
    assert 3 <= len(ast.get_docstring(tree).splitlines()) <= 7


def test_few_files_at_the_root():
    assert len(list(LIB.glob("*.py"))) <= 10


def test_pure_layer_needs_no_mpi_and_no_file_formats():
    pure = {name for name in GRAPH if room_of(name) in PURE or name in PURE_FILES}
    command = [sys.executable, "-c", IMPORT_WITHOUT, ",".join(BLOCKED), ",".join(sorted(pure))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 1, lines
    loaded = {name.removeprefix("lib.") for name in lines[0].split()[1:]}
    rooms = {room_of(name) for name in pure}
    assert loaded == pure | rooms | {"errors", "version"}  # nor do they pull in the layers above


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_relative_imports_inside_the_package(path):
    """It is installed under another name, recon3d_lib."""
    own = {"lib", "recon3d", "recon3d_lib"} | {room_of(name) for name in GRAPH} - {"convert"}
    for level, module, _ in imports(path):
        assert level or module.split(".")[0] not in own


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in (*MODULES, *TESTS)]
)
def test_no_module_is_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("script", ["getdata", "recon3d"])
def test_scripts_only_call_the_command_line(script):
    path = ROOT / f"{script}.py"
    assert len(path.read_text().splitlines()) <= 15
    assert list(imports(path)) == [(0, "lib.cli", (script,))]


def test_every_module_is_looked_at():
    assert len(MODULES) > 70
    assert set(PURE_FILES) <= set(NAMES)
