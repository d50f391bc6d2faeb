"""The scan as it is reconstructed: the array on disk and what the init file makes of it.

In come the files of getdata.py and the parameters; out comes a `Setting` (what was said, the `Measurement`,
the projector), pixels of it (`bands`), the voxels worth a look (`hull`), the place of the rotation axis
(`align`), and the volume put together (`gather`).
"""
