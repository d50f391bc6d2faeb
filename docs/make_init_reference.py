"""Write docs/init_file.md from the declarations in lib/initfile/parameters.py."""

from __future__ import annotations

import sys
from dataclasses import MISSING
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lib.initfile.parameters import KEYS  # noqa: E402
from lib.initfile.parse import format_key  # noqa: E402

HEAD = """# The init file

One `key value` a line. Text after `#` is a comment. Lists are written `[a,b,c]`, with or without blanks;
text needs quotes only where it holds blanks. Nothing in the file is evaluated. All mistakes of a file are
reported together, each with its line. A key given twice counts where it stands last, with a warning.
Start from [`examples/init_example.txt`](../examples/init_example.txt).

This page is made from the program's own declarations by `python docs/make_init_reference.py`.
"""


def reference() -> str:
    """The whole page."""
    lines, group = [HEAD], ""
    for name, key in KEYS.items():
        if key.metadata["group"] != group:
            group = key.metadata["group"]
            lines += [f"\n## {group}\n", "| key | meaning | unit | default |", "| --- | --- | --- | --- |"]
        default = "(needed)"
        if key.default is not MISSING:
            default = format_key(name, key.default)
        lines.append(f"| `{name}` | {key.metadata['text']} | {key.metadata['unit']} | {default} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "init_file.md").write_text(reference())
