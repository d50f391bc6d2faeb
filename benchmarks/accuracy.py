"""How right the reconstruction is: phantoms against counts, number of omegas, range and centre.

`python -m benchmarks.accuracy` prints the tables of docs/accuracy.md and draws docs/accuracy.png.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from unittest import mock

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.figure import Figure

from lib import reconstruction
from lib.initfile.parameters import Parameters
from lib.initfile.parse import parse
from lib.mlem import shape
from lib.parallel.communicator import SerialComm
from lib.scan.setting import prepare
from lib.simulation import simulate
from lib.simulation.compare import dice, orientation_error

STEP = 0.035
INIT = """
path {folder}
stem {folder}/raw
unit_cell [4.0495,4.0495,4.0495,90,90,90]
hkl [2,0,0]
wavelength 0.7293
M 3.6
grain_dim [11.2,11.2,11.2]
grain_steps [40,40,40]
sim_grain [4.4,3.9,4.2]
detx_size 52
detz_size 52
ang_steps [7,7,{n_omega}]
ang_min [-0.105,-0.105,0]
ang_max [0.105,0.105,{last}]
ang_width [0.07,0.07]
sim_points 80000
sim_counts 1
rock_width 0.03
roll_width 0.05
completeness_cutoff 0.7
"""


@dataclass(frozen=True)
class Case:
    """One simulated scan and what is done wrong about it."""

    counts: float = 200.0
    n_omega: int = 60
    range_deg: float = 360.0
    center_error_px: float = 0.0


@cache
def expected_counts(n_omega: int, range_deg: float) -> np.ndarray:
    """The scan without noise, for one photon in the brightest pixels."""
    text = INIT.format(folder="x", n_omega=n_omega, last=range_deg * (1 - 1 / n_omega))
    params, _ = parse(text, "benchmark")
    simulation = simulate.prepare(params)
    tilt1, tilt2, omega = simulation.axes_deg
    expected = np.empty((*params.ang_steps, params.detx_size, params.detz_size), dtype=np.float32)
    for i, j, k in np.ndindex(*params.ang_steps):
        expected[i, j, k] = simulate.expected_frame(simulation, tilt1[i], tilt2[j], omega[k])
    return expected


def make_scan(case: Case, folder: Path) -> tuple[Parameters, np.ndarray, np.ndarray]:
    """Write the array and its axes; returns the parameters, the true orientation and mask."""
    last = case.range_deg * (1 - 1 / case.n_omega)
    text = INIT.format(folder=folder, n_omega=case.n_omega, last=last)
    params, _ = parse(text, "benchmark")
    simulation = simulate.prepare(params)
    axes = simulation.axes_deg
    expected = expected_counts(case.n_omega, case.range_deg)
    counts = np.random.default_rng(5).poisson(case.counts * expected)
    np.save(folder / "dataarray.npy", counts.astype(np.uint16))
    for name, axis in zip(("tilt1", "tilt2", "omega"), axes, strict=True):
        np.save(folder / f"{name}.npy", axis)
    fields, mask = simulate.truth(simulation)
    return params, np.stack([fields["tilt1"], fields["tilt2"]], axis=-1), mask


def score(params: Parameters, true: np.ndarray, mask: np.ndarray, method: str) -> tuple[float, float, float]:
    """Dice, median and 95 % of the orientation error in steps."""
    widths = {"rock_width": None, "roll_width": None} if method != METHODS[0] else {}
    setting = prepare(replace(params, method=method.split(",")[0], **widths))
    with mock.patch.object(
        shape, "SMOOTHING_VOXELS", 1e-3 if method == NOT_AVERAGED else shape.SMOOTHING_VOXELS
    ):
        fields, found, _ = reconstruction.solve(setting, SerialComm(), quiet=True)
    orientation = np.stack([fields["tilt1"], fields["tilt2"]], axis=-1)
    errors = orientation_error(orientation / STEP, true / STEP, found & mask)
    return dice(found, mask), float(np.median(errors)), float(np.percentile(errors, 95))


METHODS = ("backprojection", "mlem")
NOT_AVERAGED = "mlem, maps not averaged"
SERIES = {
    "photons in the brightest pixels": [Case(counts=c) for c in (20.0, 40.0, 200.0, 2000.0)],
    "omegas over 360 degrees": [Case(n_omega=n) for n in (24, 60, 120, 226)],
    "range of omega (degrees), 60 omegas": [Case(range_deg=r) for r in (180.0, 360.0)],
    "error of the centre (pixels)": [Case(center_error_px=e) for e in (0.0, 0.5, 1.0, 2.0)],
}


def varied(name: str, case: Case) -> float:
    """The number that a series varies."""
    attribute = {"photons": "counts", "omegas": "n_omega", "range": "range_deg", "error": "center_error_px"}
    return float(getattr(case, attribute[name.split()[0]]))


def measure(case: Case, methods: tuple[str, ...]) -> dict[str, tuple[float, float, float]]:
    """The methods on one scan."""
    with tempfile.TemporaryDirectory() as folder:
        params, true, mask = make_scan(case, Path(folder))
        if case.center_error_px:
            middle = (params.detx_size - 1) / 2, (params.detz_size - 1) / 2 + case.center_error_px
            params = replace(params, detector_center=middle)
        return {method: score(params, true, mask, method) for method in methods}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, default=Path("docs/accuracy.png"))
    options = parser.parse_args()
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    plots = figure.subplots(2, len(SERIES))
    for column, (name, cases) in enumerate(SERIES.items()):
        print(f"\n| {name} | method | Dice | median error (steps) | 95 % |\n| --- | --- | --- | --- | --- |")
        methods = (*METHODS, NOT_AVERAGED) if "photons" in name else METHODS
        results = [measure(case, methods) for case in cases]
        numbers = [varied(name, case) for case in cases]
        for number, result in zip(numbers, results, strict=True):
            for method, values in result.items():
                print(
                    f"| {number:g} | {method} | {values[0]:.3f} | {values[1]:.3f} | {values[2]:.3f} |",
                    flush=True,
                )
        for method, marker in (("backprojection", "s--"), ("mlem", "o-")):
            plots[0, column].plot(numbers, [r[method][0] for r in results], marker, label=method)
            plots[1, column].plot(numbers, [r[method][1] for r in results], marker, label=method)
        plots[0, column].set(ylim=(0.7, 1.0), ylabel="Dice")
        plots[1, column].set(ylim=(0, None), ylabel="orientation error (steps)", xlabel=name)
        for plot in plots[:, column]:
            plot.set_xscale("log" if "photons" in name else "linear")
            plot.grid(alpha=0.3)
    plots[0, 0].legend()
    figure.savefig(options.picture, dpi=90)


if __name__ == "__main__":
    main()
