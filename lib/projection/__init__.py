"""From voxels to pixels: where each omega sees a voxel, and the compiled loops that gather and scatter.

In come affine projections (`physics.geometry`) and the pixels of some omegas; out come sums over voxels or
pixels. numpy and numba only.
"""
