"""Many processes as one: the communicator, errors that all ranks agree on, shares, memory, progress.

In comes a communicator, MPI's or that of a single process; everything else in the package is given it and
never asks for the world.
"""
