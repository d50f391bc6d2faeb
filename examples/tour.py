"""A tour of Recon3D from Python: reconstruct the scan of `make demo`, look at the grain, save and load it.

Run it in the folder of the README, after `make demo`: python examples/tour.py
"""

from matplotlib.figure import Figure
from recon3d_lib import load, reconstruct

# An init file, and keys that count more than those in it; a folder or arrays do as well.
grain = reconstruct("examples/init_example.txt", grain_steps=[24, 24, 24])

# Fields are numpy arrays (n_x, n_y, n_z): tilt1 and tilt2 in degrees, NaN outside of the grain.
inside = grain.mask
voxel_um3 = grain.spacing_um.prod()
print(f"{inside.sum()} voxels, {inside.sum() * voxel_um3:.0f} um^3")
print(f"tilt1 {grain.tilt1[inside].min():.3f} .. {grain.tilt1[inside].max():.3f} deg")
print(f"known to {grain.tilt1_std[inside].mean():.4f} deg on average")
print(f"misfit {grain.misfit[-1]:.2f} after {grain.n_iterations} iterations")
print("warnings:", *grain.warnings or ["none"])

# A slice through the middle, normal to the rotation axis, in the colours of the orientation.
x_um, y_um, z_um = grain.axes_um
middle = x_um.size // 2
colours = grain.rgb
colours[~inside] = 255
figure = Figure(figsize=(5, 4.6), layout="constrained")
plot = figure.subplots()
plot.pcolormesh(y_um, z_um, colours[middle].swapaxes(0, 1))
plot.set(xlabel="y (um)", ylabel="z (um)", title=f"x = {x_um[middle]:.1f} um", aspect="equal")
figure.savefig("demo/tour.png", dpi=90)

# A file for ParaView and silx view, and the same grain back from it.
grain.save("demo/tour.vtkhdf")
assert (load("demo/tour.vtkhdf").mask == inside).all()
print("demo/tour.png", "demo/tour.vtkhdf", sep="\n")
