"""The sections of the benchmarks: run.py calls and joins all in the same way."""

from __future__ import annotations

import importlib
import inspect

import pytest

from tests.running import ROOT

SECTIONS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*_speed.py"))


def test_there_are_sections() -> None:
    assert "write_speed" in SECTIONS


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_takes_arguments_and_returns_markdown(name: str) -> None:
    """benchmarks/run.py gives each all words of its command line, and joins what they return."""
    signature = inspect.signature(importlib.import_module(f"benchmarks.{name}").main)
    assert str(signature) == "(arguments: 'list[str] | None' = None) -> 'str'"
