"""Run every section of the benchmarks and write docs/performance.md: python benchmarks/run.py.

A section is a module benchmarks/*_speed.py with `main(arguments) -> str` (Markdown); words after the
name of a section on the command line go to it. Results depend on the machine; compare ratios.
"""

from __future__ import annotations

import importlib
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def cpu_name() -> str:
    """Model of the processor, as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else "unknown processor"


def main() -> int:
    """Run the sections and write the page."""
    parts = [
        f"# Performance\n\n{cpu_name()}; {date.today()}. Made by `python benchmarks/run.py` (`make bench`).\n"
    ]
    for path in sorted(Path(__file__).parent.glob("*_speed.py")):
        print(f"{path.stem} ...", file=sys.stderr, flush=True)
        section = importlib.import_module(f"benchmarks.{path.stem}")
        parts.append(f"## {path.stem}\n\n`python -m benchmarks.{path.stem}`\n\n{section.main(sys.argv[1:])}")
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "performance.md").write_text("\n".join(parts))
    print("\n".join(parts))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
