"""Recon3D: shape and orientation map of a grain from dark-field X-ray microscopy topo-tomography."""

__version__ = "1.0.0"
