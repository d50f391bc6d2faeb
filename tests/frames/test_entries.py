"""Which entries a name, a range, a pattern or a title means; and commands in titles."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from lib.errors import Recon3DError
from lib.frames.catalog import read_entry_facts
from lib.frames.command import outline_of
from lib.frames.entries import find_entries
from tests.getdata.beamtime import beamtime, mosaicity, write_master


def names(path: Path, wanted: str) -> list[str]:
    return [unit.rpartition("::")[2] for unit in find_entries(str(path), wanted)]


def test_ranges_patterns_and_titles(tmp_path: Path) -> None:
    path = write_master(tmp_path / "m.h5", beamtime(4))
    assert names(path, "2.1-10.1") == [f"{n}.1" for n in range(2, 11)]
    assert names(path, "title:fscan2d*") == names(path, "fscan2d*") == ["3.1", "6.1", "9.1", "12.1"]
    assert names(path, "title: *mu*") == ["2.1", "5.1", "8.1", "11.1"]
    assert names(path, "1.1, title:fscan mu*") == ["1.1", "2.1", "5.1", "8.1", "11.1"]
    assert names(path, "1?.1") == ["10.1", "11.1", "12.1"]
    assert names(path, "3.2") == ["3.2"]  # named, so its reader may say that it holds no frames


def test_a_comma_in_a_title(tmp_path: Path) -> None:
    entries = {f"{n}.1": {**mosaicity(0.0, n), "title": f"fscan(mu, {n}, 0.1, 12)"} for n in (1, 2, 3)}
    path = write_master(tmp_path / "m.h5", entries)
    assert names(path, r"title:fscan(mu\, 2\, *") == ["2.1"]
    assert names(path, r"1.1, title:fscan(mu\, 2*") == ["1.1", "2.1"]


def test_names_of_collection_masters(tmp_path: Path) -> None:
    for k in (1, 2, 10):
        write_master(tmp_path / f"s{k}.h5", {"1.1": mosaicity(0.0, k), "2.1": mosaicity(0.0, k)})
    with h5py.File(tmp_path / "all.h5", "w") as root:
        for k in (10, 2, 1):
            for n in (1, 2):
                root[f"sample_{k:04d}_{n}.1"] = h5py.ExternalLink(f"s{k}.h5", f"{n}.1")
    path = tmp_path / "all.h5"
    assert names(path, "sample_0001_1.1") == ["sample_0001_1.1"]
    assert names(path, "*_1.1") == ["sample_0001_1.1", "sample_0002_1.1", "sample_0010_1.1"]
    assert names(path, "sample_0001_2.1-sample_0009_9.1") == [
        "sample_0001_2.1",
        "sample_0002_1.1",
        "sample_0002_2.1",
    ]


def test_a_name_that_finds_nothing_is_an_error_even_beside_others(tmp_path: Path) -> None:
    path = write_master(tmp_path / "m.h5", beamtime(2))
    for wanted in ("99.1", "3.1,99.1", "3.1,title:mesh*", "50.1-60.1", "3.*,9.?"):
        missing = wanted.rpartition(",")[2].replace("*", r"\*").replace("?", r"\?")
        with pytest.raises(Recon3DError, match=rf"no entry '{missing}' with frames") as found:
            find_entries(str(path), wanted)
        for part in ("1.1, 4.1 (loopscan)", "3.1, 3.2, 6.1, 6.2 (fscan2d chi", "title:fscan*", "--list"):
            assert part in str(found.value)


def test_entries_whose_links_are_broken_count(tmp_path: Path) -> None:
    entries = beamtime(2)
    entries["3.1"]["image"] = h5py.ExternalLink("gone.h5", "/data")
    path = write_master(tmp_path / "m.h5", entries)
    with h5py.File(path, "a") as root:
        root["9.1"] = h5py.ExternalLink("gone.h5", "/1.1")
        root["10.1/instrument/pco_ff"] = h5py.ExternalLink("gone.h5", "/camera")
        root["11.1/instrument/pco_ff/image"] = h5py.SoftLink("data")  # and there is no data
    assert names(path, "*.1")[-4:] == ["6.1", "9.1", "10.1", "11.1"]
    assert "3.1" in names(path, "1.1-9.1")
    assert names(path, "title:fscan2d*") == ["3.1", "6.1", "9.1"]  # what 9.1 is, nobody can say
    assert read_entry_facts(f"{path}::3.1").broken == ("instrument/pco_ff/data",)


@pytest.mark.parametrize(
    ("title", "word", "motors", "steps"),
    [
        ("fscan2d chi -0.5 0.08 26 diffry 7.12 0.06 37 0.5 0.5", "fscan2d", ("chi", "diffry"), (0.08, 0.06)),
        ("fscan mu -0.15 0.01 31 0.1 0.1004", "fscan", ("mu",), (0.01,)),
        ("fscan(mu, -0.15, 0.01, 31, 0.1)", "fscan", ("mu",), (0.01,)),
        ("dscan diffry -1 1 40 0.2", "dscan", ("diffry",), (0.05,)),
        ("amesh chi 0 1 10 diffry 2 4 5 0.1", "amesh", ("chi", "diffry"), (0.1, 0.4)),
        ("a2scan chi 0 1 mu 0 1 10 0.1", "a2scan", ("chi", "mu"), (0.1, 0.1)),
        ("zapline diffrz -0.1 0.11 7 1000", "zapline", ("diffrz",), (0.03,)),
        ("lookupscan chi 0 1 10 pco_ff", "lookupscan", ("chi",), (None,)),
        ("loopscan 10 0.1", "loopscan", (), ()),
        ("ct 0.5 pco_ff", "ct", (), ()),
        ("timescan 0.1", "timescan", (), ()),
        ("grain 3 at 300 K", "", (), ()),
        ("", "", (), ()),
    ],
)
def test_commands_in_titles(
    title: str, word: str, motors: tuple[str, ...], steps: tuple[float | None, ...]
) -> None:
    found = outline_of(title, {})
    assert (found.word, found.motors) == (word, motors)
    assert found.steps == pytest.approx(steps) if None not in steps else found.steps == steps


def test_parameters_of_the_scan_say_more_than_a_short_title(tmp_path: Path) -> None:
    path = write_master(tmp_path / "m.h5", {"1.1": {**mosaicity(0.0, 0), "title": "fscan2d"}})
    with h5py.File(path, "a") as root:
        group = root.create_group("1.1/instrument/fscan_parameters")
        group["scan_name"] = "fscan2d"
        for name, value in (("slow_motor", "chi"), ("fast_motor", "diffry"), ("slow_step_size", 0.08)):
            group[name] = value
        group["fast_step_size"] = b"0.06"  # numbers are texts at times
    command = read_entry_facts(f"{path}::1.1").command
    assert (command.motors, command.steps) == (("chi", "diffry"), (0.08, 0.06))
