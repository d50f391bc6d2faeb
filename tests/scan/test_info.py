"""getdata.json as others may have written it: read, or refused by name before the work."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lib import reconstruction
from lib.errors import Recon3DError
from lib.initfile.parse import read_initfile
from lib.parallel.communicator import SerialComm
from lib.result import volume
from lib.scan import store
from tests import phantoms

READ = ("scan", "tilt_frame", "roles", "motors", "moving", "optics", "unmeasured_pixels")


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    case = phantoms.make(n_omega=6, n_tilts=3)
    return case.write(tmp_path_factory.mktemp("scan"), method="backprojection", threshold=5)


def say(init, info: object) -> None:
    (init.parent / "getdata.json").write_text(json.dumps(info))


@pytest.mark.parametrize("value", [7.5, True, [["tilt1"]], "", {}, [], "sample", 3])
@pytest.mark.parametrize("key", READ)
def test_every_value_is_read_or_refused_by_name(init, key, value) -> None:
    """Whatever stands there, nothing fails on it later."""
    say(init, {key: value})
    try:
        reconstruction.run(read_initfile(init)[0], SerialComm(), quiet=True, report=False)
    except Recon3DError as error:
        assert key in str(error) and "getdata.json" in str(error)


@pytest.mark.parametrize("info", [[], 1, "sample", None])
def test_it_must_be_an_object(init, info) -> None:
    say(init, info)
    with pytest.raises(Recon3DError, match=r"getdata\.json"):
        store.read_scan(init.parent)


def test_null_is_the_same_as_nothing(init) -> None:
    say(init, dict.fromkeys(READ) | {"motors": None})
    assert store.read_scan(init.parent).info == {}
    say(init, {"motors": {"tilt1": None, "tilt2": 3}})
    params = read_initfile(init)[0]
    reconstruction.run(params, SerialComm(), quiet=True, report=False)
    grain = volume.read(params.folder / "grain.vtkhdf")
    assert (grain.tilt1_motor, grain.tilt2_motor) == ("unknown", "3")
    assert np.isfinite(grain.completeness).all()
