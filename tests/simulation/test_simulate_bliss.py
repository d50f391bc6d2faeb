"""The same scan as BLISS files: layout, counts, any number of ranks, and the way through to the grain."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from lib import cli
from lib.errors import Recon3DError
from lib.initfile.parse import format_initfile
from lib.parallel.communicator import SerialComm
from lib.simulation import bliss_files, simulate
from tests.simulation.simulated_scan import GAMMA_MOTORS, parameters
from tests.simulation.test_simulate_program import digest

SIZE = (48, 44)
FORMATS = ("bliss", "bliss-links")


def simulated(folder, **changes):
    """A scan with darks; returns its parameters."""
    params = parameters(
        **{"stem": str(folder / "raw" / "g_"), "sim_background": str(folder / "raw" / "dark_"), **changes}
    )
    simulate.run(params, SerialComm(), quiet=True)
    return params


def arrays(folder, params, names, dark, *options):
    """What getdata.py makes of it: the array, the axes, and getdata.json."""
    where = {"edf": folder / "raw"}.get(params.format, folder / "raw" / "g.h5")
    given = [where, names, where, dark, f"{SIZE[0] // 2},{SIZE[1] // 2}", f"{SIZE[0]},{SIZE[1]}"]
    command = [*given, folder, "array", "--quiet", "--no-report", *options]
    assert cli.getdata([str(part) for part in command], SerialComm()) == 0
    out = folder / "array"
    found = [np.load(out / f"{name}.npy") for name in ("dataarray", "tilt1", "tilt2", "omega", "measured")]
    return found, json.loads((out / "getdata.json").read_text())


@pytest.mark.parametrize(
    "how", [{}, {"sim_jitter": 0.1}, {"ang_types": GAMMA_MOTORS}, {"sim_detector": "pco"}], ids=str
)
def test_the_array_is_that_of_the_edf_files(tmp_path, monkeypatch, how):
    monkeypatch.setattr(bliss_files, "FRAMES_PER_FILE", 5)  # 12 frames in files of 5, 5, 2
    edf = simulated(tmp_path / "edf", **how)
    bliss = simulated(tmp_path / "bliss", format="bliss", **how)
    roles = () if "ang_types" in how else ("--tilt1", "samrz", "--tilt2", "samry", "--omega", "diffrx")
    one, _ = arrays(tmp_path / "edf", edf, "g_", "dark_", *roles)
    two, info = arrays(tmp_path / "bliss", bliss, "title:fscan2d*", "1.1", *roles)
    for a, b in zip(one, two, strict=True):
        assert a.tobytes() == b.tobytes()
    assert info["ring_current_ma"] == [200.0, 200.0]
    assert sorted((tmp_path / "bliss" / "raw").rglob("pco_ff_0002.h5")) != []


@pytest.mark.parametrize("kind", FORMATS)
def test_layout_of_the_master(tmp_path, kind):
    params = simulated(tmp_path, format=kind, sim_background_frames=3)
    simulation = simulate.prepare(params)
    with h5py.File(tmp_path / "raw" / "g.h5") as root:
        assert list(root) == ["1.1", "2.1", "3.1", "4.1", "5.1"]
        assert root["1.1/title"][()] == b"loopscan 3 0.5"
        assert root["1.1/instrument/pco_ff/data"].shape == (3, 44, 48)
        for k in range(4):
            entry = root[f"{k + 2}.1"]
            assert entry["end_reason"][()] == b"SUCCESS"
            assert entry["title"][()].decode().startswith("fscan2d samrz -0.1 0.1 3 samry -0.2 0.1 4 0.5 ")
            assert entry["instrument/positioners/diffrx"][()] == 90.0 * k
            assert "diffrx" not in entry["instrument"]  # it stands still
            assert "samry_center" in entry["instrument"]  # the fast motor runs through the exposures
            assert "samrz_center" not in entry["instrument"]
            np.testing.assert_allclose(entry["instrument/samry/value"][:4], simulation.axes_deg[1], atol=1e-9)
            data = entry["instrument/pco_ff/data"]
            assert data.is_virtual == (kind == "bliss")
            link = entry["instrument/pco_ff"].get("data", getlink=True)
            assert isinstance(link, h5py.ExternalLink) == (kind == "bliss-links")
            for other in ("instrument/pco_ff/image", "measurement/pco_ff"):
                np.testing.assert_array_equal(entry[other], data)
            with h5py.File(tmp_path / "raw" / f"scan{k + 2:04d}" / "pco_ff_0000.h5") as file:
                frames = file["entry_0000/ESRF-ID03/pco_ff/data"]
                assert frames.chunks == (1, 44, 48)
                np.testing.assert_array_equal(frames, data)


def test_links_lead_to_the_same_frames(tmp_path):
    for kind in FORMATS:
        simulated(tmp_path / kind, format=kind)
    with (
        h5py.File(tmp_path / "bliss" / "raw" / "g.h5") as one,
        h5py.File(tmp_path / "bliss-links" / "raw" / "g.h5") as two,
    ):
        for name in one:
            place = f"{name}/instrument/pco_ff/image"
            np.testing.assert_array_equal(one[place], two[place])


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_files_on_any_number_of_ranks(run, tmp_path, kind):
    raw = tmp_path / "raw"
    params = parameters(
        stem=str(raw / "g_"), sim_background="dark", sim_background_frames=2, ang_steps=(2, 3, 2),
        sim_points=2000, format=kind, sim_detector="pco", sim_jitter=0.1,
    )  # fmt: skip
    (tmp_path / "init.txt").write_text(format_initfile(params))
    found = []
    for ranks in (None, 2, 3):
        result = run("-m lib simulate", tmp_path / "init.txt", ranks=ranks)
        assert result.returncode == 0, result.stderr
        assert "g.h5 (entries 2.1-3.1, darks 1.1)" in result.stdout
        found.append({str(p.relative_to(raw)): digest(p.parent)[p.name] for p in raw.rglob("*.*")})
        raw.rename(tmp_path / f"raw_{ranks}")
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_a_rocking_scan_has_one_motor(tmp_path):
    simulated(
        tmp_path, format="bliss", ang_types=("diffrz", "none", "diffry"), ang_steps=(5, 1, 2),
        ang_min=(-0.1, 0.0, 0.0), ang_max=(0.1, 0.0, 90.0), sim_background=None,
    )  # fmt: skip
    with h5py.File(tmp_path / "raw" / "g.h5") as root:
        assert list(root) == ["1.1", "2.1"]
        assert root["2.1/title"][()].decode().startswith("fscan diffrz -0.125 0.05 5 0.5 ")
        assert root["2.1/instrument/fscan_parameters/npoints"][()] == 5
        assert "none" not in root["2.1/instrument/positioners"]


def test_nothing_is_overwritten(tmp_path):
    params = simulated(tmp_path, format="bliss", ang_steps=(2, 2, 2), sim_points=1000)
    with pytest.raises(Recon3DError, match=r"g\.h5: exists; remove it or choose another stem"):
        simulate.run(params, SerialComm(), quiet=True)
    with pytest.raises(Recon3DError, match=r"scan0001: exists"):
        simulate.run(replace(params, stem=str(tmp_path / "raw" / "other_")), SerialComm(), quiet=True)
    with pytest.raises(Recon3DError, match="must end with the name of the master"):
        simulate.run(replace(params, stem=str(tmp_path / "new" / "_")), SerialComm(), quiet=True)


def test_the_camera_of_id03(tmp_path):
    """Gain, offset, noise, warm and hot pixels and bright rows, as measured there."""
    from lib.simulation.detector import Detector

    params = parameters(sim_detector="pco", sim_exposure=2.0, detx_size=400, detz_size=300, sim_seed=3)
    detector = Detector.of(params)
    rng = np.random.default_rng(0)
    darks = np.array([detector.detect(np.zeros((300, 400)), rng) for _ in range(60)], dtype=float)
    mean, variance = darks.mean(axis=0), darks.var(axis=0, ddof=1)
    inner, plain = mean[16:-16], np.abs(mean - 117.5) < 3
    assert np.median(inner) == pytest.approx(102.5 + 7.5 * 2.0, abs=0.2)
    assert np.median(variance[plain]) == pytest.approx(6.3 + 11.0 * 2.0, rel=0.06)
    assert (inner > 117.5 + 10).mean() == pytest.approx(0.006, rel=0.25)
    assert 0 < (inner > 117.5 + 1000).sum() < 40
    edge = np.median(mean, axis=1) - np.median(inner)
    assert edge[0] == pytest.approx(35.0, abs=1.0)
    assert edge[-1] == pytest.approx(35.0, abs=1.0)
    assert edge[16] == pytest.approx(0.0, abs=1.0)
    light = np.full((300, 400), 500.0)
    lit = np.array([detector.detect(rng.poisson(light).astype(float), rng) for _ in range(60)], dtype=float)
    assert np.median(lit.mean(axis=0) - mean) == pytest.approx(2.2 * 500, rel=0.01)
    gain = np.median((lit.var(axis=0, ddof=1) - variance)[plain]) / np.median(
        (lit.mean(axis=0) - mean)[plain]
    )
    assert gain == pytest.approx(2.2, rel=0.06)


def test_bliss_and_edf_files_lead_to_the_same_grain(tmp_path, capsys):
    """From the phantom through files, getdata.py and recon3d.py, on either way."""
    grains, keys = {}, {"ang_steps": (5, 5, 8), "ang_max": (0.1, 0.15, 315.0), "sim_points": 8000}
    for kind in ("edf", *FORMATS):
        names, dark = ("g_", "dark_") if kind == "edf" else ("*.1", "1.1")
        folder = tmp_path / kind
        params = simulated(folder, format=kind, path=str(folder / "array"), method="backprojection", **keys)
        arrays(folder, params, names, dark, *("--setup", "id06-2016"))
        (folder / "init.txt").write_text(format_initfile(params))
        assert cli.recon3d([str(folder / "init.txt"), "--quiet", "--no-report"], SerialComm()) == 0
        grains[kind] = np.load(folder / "array" / "grain_ang.npy")
        truth = np.load(folder / "raw" / "truth.npy")
    for kind in FORMATS:
        assert grains["edf"].tobytes() == grains[kind].tobytes()
    inside = truth[..., 2] > 0.5
    assert np.isfinite(grains["bliss"][inside]).all(axis=-1).mean() > 0.8
    assert capsys.readouterr().err == ""  # the pattern takes the darks in too; they are the background
