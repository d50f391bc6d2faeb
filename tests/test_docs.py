"""The documentation says what the program does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import matplotlib.image
import numpy as np
import pytest

from lib.physics.geometry import Geometry
from tests.running import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
RUN = ("sh", "python")


def test_init_reference_is_that_of_the_declarations():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_init_reference
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs" / "init_file.md").read_text() == make_init_reference.reference()


def test_links_of_the_readme_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_table_of_the_readme_has_every_page():
    table = re.findall(r"^\|.*\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    listed = set(re.findall(r"\]\(docs/(\w+\.md)\)", "\n".join(table)))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_anchors_within_a_page_exist():
    for page in PAGES:
        text = page.read_text()
        titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        for anchor in re.findall(r"\]\(#([^)]+)\)", text):
            assert anchor in anchors, f"{page.name} links to #{anchor}"


def test_options_of_getdata_are_documented():
    shown = subprocess.run(
        [sys.executable, str(ROOT / "getdata.py"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    text = (ROOT / "docs" / "getdata.md").read_text()
    for option in set(re.findall(r"--[a-z0-9-]+", shown)) - {"--help", "--version"}:
        assert option in text, f"docs/getdata.md does not tell of {option}"


# ---- Every command ----


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


class Workplace:
    """A folder that looks like a clone, with the environment of the tests and the demo in it."""

    def __init__(self, folder: Path, installed: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for path in ROOT.iterdir():
            if path.name not in {".venv", "demo", ".git"}:
                (folder / path.name).symlink_to(path)
        (folder / ".venv").mkdir()
        for path in Path(sys.prefix).iterdir():
            (folder / ".venv" / path.name).symlink_to(path)
        if not (installed / "recon3d_lib").exists():  # the package and its commands, from this clone
            (installed / "recon3d_lib").symlink_to(ROOT / "lib")
        for command, function in re.findall(
            r'"([\w-]+) = recon3d_lib\.cli:(\w+)"', (ROOT / "setup.py").read_text()
        ):
            script = installed / command
            script.write_text(
                f"#!{sys.executable}\nfrom recon3d_lib import cli\nraise SystemExit(cli.{function}())\n"
            )
            script.chmod(0o755)
        path = f"{installed}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.printed: dict[str, str] = {}  # by each block that ran
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(installed)}

    def run(self, language: str, text: str) -> str:
        """Run a block as it stands, once; its output."""
        if text in self.printed:
            return self.printed[text]
        command = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*command, text],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        self.printed[text] = done.stdout
        return done.stdout


@pytest.fixture(scope="session")
def workplace(tmp_path_factory, pytestconfig) -> Workplace:
    """After the first command of the README, which makes the demo.

    The commands lie where they lay in the last run, so that what numba compiled for them is found again.
    """
    place = Workplace(
        tmp_path_factory.mktemp("docs") / "clone", pytestconfig.cache.mkdir("recon3d_installed")
    )
    language, text = blocks(ROOT / "README.md")[0]
    assert (language, text) == ("sh", "make demo\n")
    place.run(language, text)
    return place


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=p.name) for p in PAGES if any(b[0] in RUN for b in blocks(p))]
)
def test_every_command_of_the_page_runs(page, workplace):
    for language, text in blocks(page):
        if language in RUN:
            workplace.run(language, text.replace("make demo\n", ""))  # done already


def test_commands_stand_in_blocks_that_are_run():
    """Text that is not run has placeholders or formulas: no language is left out by mistake."""
    for page in PAGES:
        for language, text in blocks(page):
            assert language in (*RUN, "text"), f"{page.name}: {language or 'no language'}"
            assert language != "text" or re.search(r"\[\w+\]|OLDFOLDER|[=.] ", text), f"{page.name}: {text}"


def test_the_tour_leaves_a_picture_and_a_file(workplace):
    printed = workplace.run("sh", "python examples/tour.py\n").splitlines()
    voxels = int(printed[0].split()[0])
    assert 5000 < voxels < 9000  # of 32^3, the grain of the demo
    assert printed[-2:] == ["demo/tour.png", "demo/tour.vtkhdf"]
    picture = matplotlib.image.imread(workplace.folder / "demo" / "tour.png")[..., :3]
    assert (np.ptp(picture, axis=-1) > 0.2).mean() > 0.1  # in colour


# ---- Files ----


def test_every_field_and_attribute_is_documented(workplace, tmp_path):
    """All that a result with alignment holds is named in docs/file_formats.md."""
    text = (ROOT / "docs" / "file_formats.md").read_text()
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", text))))
    keys = f"output {tmp_path}\ndetector_center auto\ngrain_steps [8,8,8]\niterations 1\n"
    init = tmp_path / "init.txt"
    init.write_text((ROOT / "examples" / "init_example.txt").read_text() + keys)
    workplace.run("sh", f"recon3d --quiet {init} 2>/dev/null")
    names: set[str] = set()

    def collect(path, item):
        if "parameters" not in path:  # docs/init_file.md
            names.update((path.split("/")[-1], *item.attrs))

    with h5py.File(tmp_path / "grain.vtkhdf") as file:
        file.visititems(collect)
        names |= set(file.attrs) | set(file["VTKHDF/CellData"])
    names |= set(json.loads((workplace.folder / "demo" / "array" / "getdata.json").read_text()))
    names |= set(json.loads((workplace.folder / "demo" / "raw" / "truth.json").read_text()))
    names |= {p.name for p in (workplace.folder / "demo" / "array").iterdir()} - {"slices.png", "grain.vti"}
    missing = {name for name in names if not set(re.findall(r"\w+", name)) <= documented}
    assert not missing


# ---- Geometry ----


def test_numbers_of_the_geometry_page():
    text = (ROOT / "docs" / "geometry.md").read_text()
    number = r"(-?[\d.]+)"
    row = rf"^\| (\w+) \| \({number}, {number}, {number}\) " + rf"\| {number} " * 5 + r"\|$"
    rows = re.findall(row, text, re.MULTILINE)
    assert len(rows) == 6
    for mode, *values in rows:
        x, y, z, omega, up, low, x_d, z_d = map(float, values)
        geometry = Geometry(mode=mode, theta_rad=np.radians(10.375), magnification=10.0)
        matrix, shift = geometry.sample_to_pixel(
            np.radians(omega), phi_up=np.radians(up), phi_lo=np.radians(low)
        )
        np.testing.assert_allclose(matrix @ (x, y, z) + shift, (x_d, z_d), atol=1e-6)
