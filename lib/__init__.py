"""Recon3D: shape and orientation map of a grain from dark-field X-ray microscopy topo-tomography."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .api import compare, load, reconstruct

__all__ = ["compare", "load", "reconstruct"]


def __getattr__(name: str) -> Any:
    """Import what is needed when it is asked for: `import recon3d_lib` alone stays light."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from . import api

    return getattr(api, name)
