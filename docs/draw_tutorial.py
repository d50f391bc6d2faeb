"""Draw docs/tutorial_frames.png from the scan of `make demo`: one frame, and what the tilts add up to."""

from __future__ import annotations

import sys
from pathlib import Path

import fabio
import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent


def main(demo: Path) -> None:
    """The frame is the brightest of the first hundred files."""
    frames = [fabio.open(path).data for path in sorted((demo / "raw").glob("grain_*.edf"))[:100]]
    frame = max(frames, key=np.sum)
    array = np.load(demo / "array" / "dataarray.npy", mmap_mode="r")
    omega = np.load(demo / "array" / "omega.npy")
    figure = Figure(figsize=(11.5, 2.3), layout="constrained")
    plots = figure.subplots(1, 5)
    plots[0].imshow(frame, cmap="viridis")
    plots[0].set_title("one frame")
    for plot, k in zip(plots[1:], np.arange(4) * omega.size // 4, strict=True):
        plot.imshow(array[:, :, k].sum(axis=(0, 1), dtype=np.float64).T, cmap="viridis")
        plot.set_title(f"all tilts, omega {omega[k]:.0f}")
    for plot in plots:
        plot.set(xlabel="x (px)")
    plots[0].set(ylabel="y (px)")
    figure.savefig(HERE / "tutorial_frames.png", dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
