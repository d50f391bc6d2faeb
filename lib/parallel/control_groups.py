"""The control groups around this process (Linux): the limits of a batch job or a container.

Nothing heavy is imported here: a command asks for its cores before numpy is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def control_groups(controller: str, root: Path = ROOT) -> Iterator[tuple[Path, bool]]:
    """The folder of each group that may limit what `controller` hands out; whether it is of version 2."""
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers
        group = top / path.strip("/")  # within a container the path may be the host's: then the top counts
        for folder in [g for g in (group, *group.parents) if g.is_relative_to(top)]:
            yield folder, not controllers


def text_of(path: Path) -> str:
    """What a file holds, nothing if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
