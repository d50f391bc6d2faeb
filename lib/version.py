"""The version of Recon3D, for every file that names it."""

__version__ = "1.0.0"
