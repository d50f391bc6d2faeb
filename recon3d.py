#!/usr/bin/env python
"""Reconstruct the shape and orientation map of a grain in 3D: see README.md."""

from lib.cli import recon3d

if __name__ == "__main__":
    raise SystemExit(recon3d())
