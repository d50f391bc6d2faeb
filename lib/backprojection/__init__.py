"""Methods of the white paper: `backprojection` (sums of tilt maps) and `rocking` (fits of curves).

In comes a setting; out come fields and mask of the grain. `sweep` shares voxels and omegas among the
ranks; `sums` and `rocking` are the methods, on pixels that it hands them.
"""
