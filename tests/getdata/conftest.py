"""The scan that most tests of getdata.py start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.getdata.getdata_scan import Frame, small_scan


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, list[Frame], np.ndarray]:
    """The scan that most tests of getdata.py start from: `getdata_scan.small_scan`."""
    return small_scan(tmp_path)
