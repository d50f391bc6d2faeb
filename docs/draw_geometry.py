"""Draw docs/geometry.png: the two scattering geometries, from the rotations of lib/physics/geometry.py."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lib.physics.geometry import SCATTERING_VECTOR, rotation  # noqa: E402

THETA = np.radians(14.0)  # larger than usual, to be seen


def arrow(plot: Axes, start: np.ndarray, end: np.ndarray, color: str, width: float = 2.0) -> None:
    """An arrow from one point to another."""
    style = {"arrowstyle": "-|>", "color": color, "lw": width, "mutation_scale": 16}
    plot.annotate("", xy=tuple(end), xytext=tuple(start), arrowprops=style)


def draw(plot: Axes, mode: str) -> None:
    """The scattering plane: y_l to the right; seen from above x_l points down, from the side z_l up."""
    up = 0 if mode == "horizontal" else 2
    sign = -1.0 if mode == "horizontal" else 1.0
    axis = 2 if mode == "horizontal" else 0

    def flat(vector: np.ndarray) -> np.ndarray:
        return np.array([vector[1], sign * vector[up]])

    beam = np.array([0.0, 1.0, 0.0])
    diffracted = rotation(axis, 2 * THETA) @ beam
    g = rotation(axis, THETA) @ np.array(SCATTERING_VECTOR[mode])
    arrow(plot, flat(-1.5 * beam), flat(-0.12 * beam), "0.25", 2.5)
    plot.plot(*np.transpose([flat(0.1 * beam), flat(2.3 * beam)]), color="0.75", ls="--", lw=1)
    arrow(plot, flat(0.12 * diffracted), flat(2.25 * diffracted), "tab:red", 2.5)
    arrow(plot, np.zeros(2), flat(1.15 * g), "tab:blue")
    plot.plot(*np.transpose([flat(-0.9 * g), flat(1.45 * g)]), color="tab:blue", ls=":", lw=1)
    plot.text(*flat(1.55 * g), "G, omega turns\nabout it", color="tab:blue", ha="center", va="center")
    normal = flat(rotation(axis, np.pi / 2) @ diffracted)
    for distance, half, color, text in ((1.15, 0.28, "tab:green", "lens"), (2.4, 0.5, "k", "detector")):
        middle = flat(distance * diffracted)
        plot.plot(*np.transpose([middle - half * normal, middle + half * normal]), color=color, lw=4)
        plot.text(*(middle + (half + 0.13) * np.sign(normal[1]) * normal), text, color=color, ha="center")
    plot.add_patch(matplotlib.patches.Ellipse((0, 0), 0.26, 0.2, color="tab:orange", zorder=3))
    plot.text(0.3, -0.2, "grain", color="tab:orange", ha="center")
    plot.text(*flat(-1.45 * beam) + (0, 0.1), "beam, y$_l$", color="0.25")
    bent = 1.55 * np.array([np.cos(THETA), np.sin(THETA)])
    plot.text(*bent, "2 theta", color="0.4", ha="center", va="center")
    for end, name in (((0.45, 0.0), "y$_l$"), ((0.0, sign * 0.45), "x$_l$" if up == 0 else "z$_l$")):
        corner = np.array([-1.6, -0.9])
        arrow(plot, corner, corner + end, "0.5", 1.2)
        plot.text(*(corner + 1.2 * np.array(end)), name, color="0.5", ha="center", va="center")
    seen = "seen from above" if up == 0 else "seen from the side"
    plot.set_title(f"{mode} scattering, {seen}", fontsize=11)
    plot.set_aspect("equal")
    plot.set(xlim=(-1.75, 2.75), ylim=(-1.6, 1.95))
    plot.axis("off")


figure = Figure(figsize=(12, 4.8), layout="constrained")
for plot, mode in zip(figure.subplots(1, 2), ("horizontal", "vertical"), strict=True):
    draw(plot, mode)
figure.savefig(HERE / "geometry.png", dpi=100)
