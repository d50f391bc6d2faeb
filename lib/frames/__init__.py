"""Detector files: frames and what their headers know, whatever the format.

In come folders and names; out come `FrameInfo` (motors, counters, where the pixels lie) and pixels of a
region: EDF (`edf`), BLISS HDF5 (`bliss`), either (`sources`), and what is done to pixels (`pixels`).
"""
