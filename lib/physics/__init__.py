"""What holds for any scan: geometry and signs, tilt frames, scan types, noise, strain, colours.

Numbers in, numbers out: numpy and scipy only, angles in radians inside the geometry, in degrees where a name
says so. `geometry` is the one definition of frames and signs.
"""
