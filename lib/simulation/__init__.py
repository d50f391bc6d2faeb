"""Simulated scans: a phantom grain becomes detector files, and a result is held beside the truth.

In comes an init file with its simulation keys; out go frames as a beamline writes them, background
frames and truth.npy (`simulate`, the grain itself in `phantom`), or numbers and a picture of how well a
reconstruction did (`compare`).
"""
