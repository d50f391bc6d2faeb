"""Method `mlem`: the distribution of orientations in every voxel that explains all images together.

In comes a setting; out come fields and mask of the grain. `iterate` is the workflow, `expectation` the
method on `maps` and `response`, `resolution` finds widths on a `coarse` scan, `overlaps` is what ranks
tell each other, `shape` reads the maps, `selftest` and `errors` say how far that is right.
"""
