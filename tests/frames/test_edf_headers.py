"""What is known of EDF files before their pixels are read: names, motors and ring current."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib.errors import Recon3DError
from lib.frames import edf
from lib.frames.edf_header import MotorLists
from tests.frames.edf_files import only_frame, simple_file
from tests.frames.edf_scan import paired_lists

# ---- Which files ----


def test_files_are_found_by_the_beginning_and_the_end_of_their_names(tmp_path: Path) -> None:
    wanted = ["a_1.edf", "a_2.edf.gz", "a_10.edf.bz2", "a_.edf"]
    others = ["b_1.edf", "xa_1.edf", "a_1.edf.txt", "a_1.tif", "a_1.edf.xz", "a_1_edf", "A_1.edf"]
    for name in (*wanted, *others):
        (tmp_path / name).touch()
    assert sorted(Path(p).name for p in edf.find_files(str(tmp_path), "a_")) == sorted(wanted)


def test_files_come_in_the_order_of_their_numbers_whatever_listdir_says(tmp_path: Path) -> None:
    """Mistake 13: listdir order was assumed; 2 comes before 10, also without leading zeros."""
    names = ["f_2_1.edf", "f_10_2.edf", "f_1_0.edf", "f_10_10.edf", "f_9_0.edf.gz", "f_10_0.edf"]
    for name in names:
        (tmp_path / name).touch()
    found = [Path(p).name for p in edf.find_files(str(tmp_path), "f")]
    assert found == ["f_1_0.edf", "f_2_1.edf", "f_9_0.edf.gz", "f_10_0.edf", "f_10_2.edf", "f_10_10.edf"]


@pytest.mark.parametrize("names", [["grain_x.edf", "x_1.edf"], ["1.edf", "a.edf", "a1.edf", "1a.edf"]])
def test_names_of_letters_and_numbers_sort_together(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert len(edf.find_files(str(tmp_path), "")) == len(names)


def test_a_missing_folder_a_file_and_a_wrong_name_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(Recon3DError, match="nowhere: no such folder"):
        edf.find_files(str(tmp_path / "nowhere"), "a")
    with pytest.raises(Recon3DError, match="no EDF file at all"):
        edf.find_files(str(tmp_path), "a")
    simple_file(tmp_path / "strain_0000.edf")
    with pytest.raises(Recon3DError, match=r"begins with 'topo_'; .* 1 .*strain_0000\.edf"):
        edf.find_files(str(tmp_path), "topo_")
    with pytest.raises(Recon3DError, match=r"strain_0000\.edf: is a file, not a folder"):
        edf.find_files(str(tmp_path / "strain_0000.edf"), "a")


# ---- Motors ----


def test_motors_of_a_real_header(tmp_path: Path) -> None:
    """The motor lists of ID06's real sample, 83 long, beside 29 counters of which four are -nan."""
    motors = edf.read_motors("f.edf", REAL_HEADER)
    assert motors["diffry"] == -23.176
    assert motors["mono"] == 5.67781
    assert motors["chi"] == 2.79004
    assert motors["phi"] == 2.83
    assert motors["smfoc"] == -3.49836
    assert "srcur" not in motors
    path = simple_file(tmp_path / "f.edf", **REAL_HEADER)
    info, found = only_frame(path)
    assert found["diffry"] == -23.176
    assert info.ring_current_ma == 167.777


@pytest.mark.parametrize("cut", ["motor_mne", "motor_pos"])
def test_motor_lists_of_unequal_length(tmp_path: Path, cut: str) -> None:
    """A value lost from the list would give every motor behind it its neighbour's position."""
    header = dict(REAL_HEADER)
    header[cut] = header[cut].rsplit(maxsplit=1)[0]
    path = simple_file(tmp_path / "f.edf", **header)
    with pytest.raises(Recon3DError, match=r"f\.edf: motor_mne names 8[23] but motor_pos gives 8[23] values"):
        edf.read_headers(str(path))


def test_a_motor_without_a_number_is_nan() -> None:
    header = {"motor_mne": "phi chi diffrx smx", "motor_pos": "1 -nan ? 2e-3"}
    motors = edf.read_motors("f.edf", header)
    assert motors["phi"] == 1
    assert motors["smx"] == 2e-3
    assert np.isnan([motors["chi"], motors["diffrx"]]).all()


@pytest.mark.parametrize("names", ["phi chi mu omega", "phi chi phi omega", "phi phi phi phi"])
def test_lists_are_read_alike_whatever_was_read_before(names: str) -> None:
    lists = MotorLists()
    for texts in ("1 2 3 4", "1 2 3 4", "9 2 3 5", "9 nan 3 5", "? 2 3.5 5", "1e-3 2 3.5 5"):
        header = {"motor_mne": names, "motor_pos": texts}
        np.testing.assert_equal(lists.read("f.edf", header), MotorLists().read("f.edf", header))
    other = {"motor_mne": "mu", "motor_pos": "7"}
    assert lists.read("f.edf", other) == {"mu": 7.0}


def test_plain_keys_are_motors_where_there_are_no_lists() -> None:
    header = {"Omega": "12.5", "phi_upper": "-0.01", "title": "CCD Image", "Dim_1": "2048", "Size": "8"}
    header |= {"EDF_BinarySize": "8", "ByteOrder": "LowByteFirst", "Image": "1"}
    assert edf.read_motors("f.edf", header) == {"Omega": 12.5, "phi_upper": -0.01}


def test_the_motor_list_wins_over_a_plain_key_of_the_same_name() -> None:
    assert edf.read_motors("f.edf", {"phi": "1", "motor_mne": "phi", "motor_pos": "2"})["phi"] == 2


# ---- Ring current ----

REAL_HEADER = {
    "counter_pos": "5 167.777 4.83755e-06 4.49475e-14 -6.20425e-14 6.08826e-13 104.839 58.5954 0 101.388 "
    "7.08645 0 134422 0 0 0 0 0 0 15.8587 12.2253 107.116 62.7188 0 0 -nan -nan -nan -nan",
    "counter_mne": "sec srcur pico1 pico2 pico3 pico4 nfavg nfstd europv ffavg ffstd oxtemp p201_1 mc5 mc6 "
    "delV delI samV samI basavg basstd diffavg diffstd horavg horstd foc1 foc2 foc3 foc4",
    "motor_pos": "2 5.67781 7.26697 2 -0.0606673 2 2.67886 4 0.46 4 -2.3005 -440.5 -0.151027 0 2257.86 0 "
    "-0.0125 0.38 3.763 -0.219 -0.0015 0.015 118 -18.72 -5.7646 -404.727 0 410 50 332.232 0.6972 155.258 "
    "25.1023 -0.00459375 0 -23.176 -1.38401e-06 -6.6 0.41 1.9877 2.79004 2.83 9.15 1900 91.867 -380.427 "
    "10.4341 14.73 1 0.157396 1 1.09653 -12.28 6.00113 3 0.00199669 7 2.42334 500 600 1300 561 0 -310 0 "
    "110 99 51.15 -0.0485141 -4850 -1.83986e-05 3 3.4803e-10 7 -2.42334 -0.35 1.21064 -3.53 -53.6341 "
    "45.0609 0 4.62 -3.49836",
    "motor_mne": "trash mono x2z s5hg s5ho s5vg s5vo s3vg s3vo s3hg s3ho fffoc ffrotc ffy ffz ffpitch hxx "
    "hxy hxz hxyaw hxroll hxpitch cdx cdy cdz cdpitch cdyaw euro_sp icx obx oby obz obpitch obyaw difftz "
    "diffry diffrz diffty corz corx chi phi detz dety detx hfoc hrotc htth s4hg s4ho s4vg s4vo nffoc "
    "delVsp s6hg s6ho s6vg s6vo auxx auxy auxz dcx dcy dcz nfrz nfx nfy nfz nfrotc mainx bstop s7hg s7ho "
    "s7vg s7vo smx smz smy furnz furny delIsp lenssel smfoc",
}


def test_ring_current_is_the_counter_not_the_motor_in_its_place() -> None:
    """Mistake 8: srcur was looked up among the counters and read among the motors: 5.7 for 167.8 mA."""
    assert REAL_HEADER["motor_pos"].split()[1] == "5.67781"
    assert edf.ring_current_ma(REAL_HEADER) == 167.777


@pytest.mark.parametrize(
    ("text", "current"),
    [
        ("181.3 mA", 181.3),
        ("current 181.3 mA", 181.3),
        ("181.3", 181.3),
        ("the ring holds 92.25 mA", 92.25),
        ("  17 mA ", 17),
        ("no beam", None),
        ("nan mA", None),
        ("", None),
    ],
)
def test_ring_current_of_the_key_machine_current(text: str, current: float | None) -> None:
    assert edf.ring_current_ma({"machine current": text}) == current


def test_ring_current_unknown() -> None:
    assert edf.ring_current_ma({}) is None
    assert edf.ring_current_ma(paired_lists("counter", {"sec": 1.0, "mon": 2.0})) is None
    assert edf.ring_current_ma(paired_lists("motor", {"srcur": 5.6})) is None


def test_ring_current_of_a_counter_without_a_number() -> None:
    counters = paired_lists("counter", {"sec": 1.0, "srcur": float("nan"), "pico1": 3.0})
    assert counters["counter_pos"].split()[1] == "-nan"
    assert edf.ring_current_ma(counters) is None
    assert edf.ring_current_ma({**counters, "machine current": "90.5 mA"}) == 90.5


def test_the_counter_wins_over_the_key() -> None:
    header = {**paired_lists("counter", {"srcur": 190.0}), "machine current": "90.5 mA"}
    assert edf.ring_current_ma(header) == 190.0
