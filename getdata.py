#!/usr/bin/env python
"""Gather the .edf files of a topo-tomography scan into one array: see README.md."""

from lib.cli import getdata

if __name__ == "__main__":
    raise SystemExit(getdata())
