"""Draw docs/demo.png, the grain of `make demo` in 3D in report.html, and docs/figure.png of the tutorial.

python docs/draw_demo.py [demo]; the first takes Chromium (Debian: apt-get install chromium).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from PIL import Image
from recon3d_lib import load

HERE = Path(__file__).resolve().parent
SIZE = (1060, 880)

# Nothing but the section; cut by planes normal to x and z, looked at along y.
ALONE = """<style>main > :not(#scene) { display: none !important; }
main { max-width: none; padding: 0; } body { background: white; }
#scene { border: 0; margin: 0; }</style>
<script>addEventListener("load", async () => {
  const part = document.getElementById("scene");
  while (part.dataset.ready !== "yes") await new Promise((done) => setTimeout(done, 20));
  part.querySelector('.cuts [data-axis="1"] input[type=checkbox]').click();
  const z = part.querySelector('.cuts [data-axis="2"] input[type=range]');
  z.value = Number(z.value) - 5;
  z.dispatchEvent(new Event("input"));
  await new Promise((done) => setTimeout(done, 200));
  const camera = { eye: { x: 1.6, y: -0.95, z: 0.95 }, center: { x: 0, y: 0, z: -0.11 } };
  await window.Plotly.relayout(part.querySelector(".view"), { "scene.camera": camera });
});</script></head>"""


def draw_page(report: Path, picture: Path) -> None:
    """What a browser shows of the section."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(report.read_text(encoding="utf-8").replace("</head>", ALONE, 1), encoding="utf-8")
        flags = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        flags += [f"--user-data-dir={folder}/profile", f"--window-size={SIZE[0]},{SIZE[1]}"]
        flags += ["--virtual-time-budget=20000", "--force-device-scale-factor=1.25", "--hide-scrollbars"]
        subprocess.run(["chromium", *flags, f"--screenshot={picture}", page.as_uri()], check=True)
    with Image.open(picture) as image:
        shown = np.asarray(image.convert("RGB"))
    used = np.flatnonzero((shown != 255).any(axis=(1, 2)))
    Image.fromarray(shown[max(used[0] - 10, 0) : used[-1] + 10]).save(picture, optimize=True)


def draw_figure(result: Path, picture: Path) -> None:
    """What the tutorial draws."""
    grain = load(result)
    figure, axes = pyplot.subplots(2, 2, figsize=(6.9, 6.2), layout="constrained")
    grain.plot_slice("orientation", normal="x", ax=axes[0, 0])
    grain.plot_key(ax=axes[0, 1])
    grain.plot_cells(normal="x", ax=axes[1, 0])
    grain.plot_slice("kam", normal="x", ax=axes[1, 1])
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    demo = Path(sys.argv[1] if len(sys.argv) > 1 else "demo") / "array"
    draw_figure(demo / "grain.vtkhdf", HERE / "figure.png")
    draw_page(demo / "report.html", HERE / "demo.png")
