"""Cells: parts of a grain that differ in orientation by a step, not by a bend.

In come the orientation of every voxel and its stated error, out go labels, and what is to be said of each
cell. Nothing here knows of files or MPI.
"""
