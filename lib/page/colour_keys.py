"""What the colours mean: pictures that the slices and the grain in 3D share, by title of what is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .pictures import Drawing
from .skeleton import picture_url


def section(keys: Mapping[str, Drawing]) -> str:
    """The pictures as data URLs; must stand in the page before the scripts that look for them."""
    urls = json.dumps({title: picture_url(key()) for title, key in keys.items()}).replace("<", "\\u003c")
    return f'<script type="application/json" id="keys">{urls}</script>'
