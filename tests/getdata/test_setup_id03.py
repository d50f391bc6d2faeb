"""The set-up of ID03, and tilt frames by the names of motors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lib.errors import Recon3DError
from lib.getdata.motors import RoleOptions, assign_roles, frame_of
from tests.getdata.bliss_scans import Taken, failure, info, pixels, run, write
from tests.getdata.motor_scans import gamma_scan, scan_of


def id03(
    path: Path, omegas: Sequence[float], gammas: Sequence[float], omega_motor: str = "omega", **more: str
) -> Taken:
    """One entry of mu for each omega and gamma, which phi and chi make; the fixed motors as numbers."""
    mu = 0.02 * np.arange(3)
    entries, places = [], []
    for omega in omegas:
        for gamma in gammas:
            w = np.radians(omega)
            entries.append(
                {
                    "frames": pixels(3, len(entries)),
                    "instrument/mu/value": mu,
                    "instrument/positioners/mu": 0.0,
                    "instrument/positioners/phi": 1.0 + gamma * np.cos(w),
                    "instrument/positioners/chi": 2.0 + gamma * np.sin(w) / np.cos(np.radians(2.0)),
                    f"instrument/positioners/{omega_motor}": omega,
                    "instrument/positioners/diffry": 7.0,
                    **more,
                }
            )
            places += [(m, gamma, omega) for m in mu]
    write(path, entries)
    tilt1, tilt2, omega = np.array(places).T
    return Taken(np.concatenate([e["frames"] for e in entries]), tilt1, tilt2, omega)


@pytest.mark.parametrize("omega_motor", ["omega", "diffrz"])
@pytest.mark.parametrize("roles", [(), ("--setup", "id03")])
def test_mu_gamma_and_omega_are_found(tmp_path: Path, omega_motor: str, roles: tuple[str, ...]) -> None:
    taken = id03(tmp_path / "scan.h5", np.arange(0, 180, 30.0), [-0.1, 0.0, 0.1], omega_motor)
    if roles and omega_motor == "diffrz":
        roles = (*roles, "--omega", "diffrz")
    assert run(tmp_path / "scan.h5", tmp_path / "out", roles=roles) == 0
    taken.check(tmp_path / "out")
    found = info(tmp_path / "out")
    assert (found["setup"], found["tilt_frame"]) == ("id03", "lab")
    assert found["motors"] == {"tilt1": "mu", "tilt2": "gamma", "omega": omega_motor}


def test_at_omegas_where_one_of_phi_and_chi_stands_still(tmp_path: Path) -> None:
    taken = id03(tmp_path / "scan.h5", [0.0, 180.0], [-0.1, 0.0, 0.1])
    assert run(tmp_path / "scan.h5", tmp_path / "out", roles=()) == 0
    taken.check(tmp_path / "out")


@pytest.mark.parametrize(
    ("title", "moving"),
    [
        ("fscan mu 0 0.02 3 0.1 0.1004", ["tilt1"]),
        ("ascan mu 0 0.04 2 0.1", []),
        ("", None),
        ("all of it", None),
    ],
)
def test_what_moves_while_a_frame_is_taken(tmp_path: Path, title: str, moving: list[str] | None) -> None:
    id03(tmp_path / "scan.h5", np.arange(0, 180, 30.0), [-0.1, 0.0, 0.1], title=title)
    assert run(tmp_path / "scan.h5", tmp_path / "out", roles=()) == 0
    assert info(tmp_path / "out")["moving"] == moving


def test_fscan_parameters_count_more_than_the_title(tmp_path: Path) -> None:
    given = {"motor": "mu", "start_pos": "0", "step_size": "0.02", "npoints": "3", "scan_name": "fscan"}
    more = {f"instrument/fscan_parameters/{key}": value for key, value in given.items()}
    id03(tmp_path / "scan.h5", np.arange(0, 180, 30.0), [-0.1, 0.0, 0.1], title="all of it", **more)
    assert run(tmp_path / "scan.h5", tmp_path / "out", roles=()) == 0
    assert info(tmp_path / "out")["moving"] == ["tilt1"]


def test_mu_alone_is_a_rocking_scan(tmp_path: Path) -> None:
    taken = id03(tmp_path / "scan.h5", np.arange(0, 180, 30.0), [0.0])
    assert run(tmp_path / "scan.h5", tmp_path / "out", roles=()) == 0
    taken.check(tmp_path / "out")
    found = info(tmp_path / "out")
    assert (found["setup"], found["tilt_frame"], found["scan"]) == ("id03", "lab", "rocking")


def test_phi_and_chi_above_omega() -> None:
    headers = scan_of("phi", "chi", "omega") | {"mu": np.zeros(60)}
    assert assign_roles(headers, RoleOptions()).setup.tilt_frame == "sample"
    headers["mu"] = 0.01 * np.arange(60)
    with pytest.raises(Recon3DError, match="no known set-up fits"):
        assign_roles(headers, RoleOptions())


@pytest.mark.parametrize(
    ("tilt1", "tilt2", "frame"),
    [
        ("mu", "none", "lab"),
        ("diffrz", "none", "lab"),
        ("chi", "none", "sample"),
        ("furny", "none", "lab"),
        ("phi", "chi", "sample"),
        ("samrz", "samry", "sample"),
        ("mu", "furny", "lab"),
        ("furny", "ccmth", "lab"),
        ("mu_center", "furny", "lab"),
        ("chienc", "furny", "sample"),
        ("chi", "furny", "sample"),
        ("furnz", "furny", "sample"),
    ],
)
def test_roles_by_hand_get_the_frame_of_their_motors(tilt1: str, tilt2: str, frame: str) -> None:
    headers = scan_of(tilt1, tilt2, "hrotc")
    options = RoleOptions(tilt1=tilt1, tilt2=tilt2, omega="hrotc")
    assert assign_roles(headers, options).setup.tilt_frame == frame
    other = {"lab": "sample", "sample": "lab"}[frame]
    chosen = RoleOptions(tilt1=tilt1, tilt2=tilt2, omega="hrotc", tilt_frame=other)
    assert assign_roles(headers, chosen).setup.tilt_frame == other


@pytest.mark.parametrize(("below", "above"), [("mu", "chi"), ("diffrz", "samry"), ("ccmth", "phi_center")])
def test_one_tilt_below_and_one_above_are_refused_once_omega_turns(below: str, above: str) -> None:
    for tilt1, tilt2 in ((below, above), (above, below)):
        options = RoleOptions(tilt1=tilt1, tilt2=tilt2, omega="hrotc")
        with pytest.raises(Recon3DError, match=f"{below} sits below omega .* {above} above it: once omega"):
            assign_roles(scan_of(tilt1, tilt2, "hrotc"), options)
        assign_roles(scan_of(tilt1, tilt2, "hrotc", shape=(3, 4, 1)), options)  # one omega: no conflict
        assign_roles(
            scan_of(tilt1, tilt2, "hrotc"),
            RoleOptions(tilt1=tilt1, tilt2=tilt2, omega="hrotc", tilt_frame="lab"),
        )


def test_the_refusal_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    id03(tmp_path / "scan.h5", np.arange(0, 180, 30.0), [-0.1, 0.0, 0.1])
    roles = ("--tilt1", "mu", "--tilt2", "chi", "--omega", "omega")
    line = failure(capsys, tmp_path / "scan.h5", tmp_path / "out", roles=roles)
    assert "mu with gamma, which phi and chi make" in line
    assert "--tilt-frame" in line


def test_phi_that_moves_on_its_own_is_no_gamma() -> None:
    headers = gamma_scan(np.arange(0, 180, 15.0), [0.0])
    headers["mu"] = headers.pop("diffrz")
    headers["omega"] = headers.pop("diffry")
    headers["phi"] = 0.02 * (np.arange(headers["mu"].size) % 3.0)
    with pytest.raises(Recon3DError, match="no known set-up"):
        assign_roles(headers, RoleOptions())


def test_frames_of_names() -> None:
    assert [frame_of(m) for m in ("mu", "gamma", "phi", "muenc", "samry_trig", "diffry")] == [
        *("lab", "lab", "sample", "lab", "sample"),
        None,
    ]
