"""The documentation says what the program does."""

from __future__ import annotations

import re
import subprocess
import sys

from conftest import ROOT


def test_init_reference_is_that_of_the_declarations():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_init_reference
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs" / "init_file.md").read_text() == make_init_reference.reference()


def test_links_of_the_readme_exist():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_options_of_getdata_are_documented():
    shown = subprocess.run(
        [sys.executable, str(ROOT / "getdata.py"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    text = (ROOT / "docs" / "getdata.md").read_text()
    for option in set(re.findall(r"--[a-z0-9-]+", shown)) - {"--help", "--version"}:
        assert option in text, f"docs/getdata.md does not tell of {option}"
