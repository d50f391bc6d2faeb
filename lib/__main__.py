"""`python -m lib PROGRAM ARGUMENTS` in a clone: what the installed commands do."""

import sys

from . import cli

PROGRAMS = {
    "getdata": cli.getdata,
    "recon3d": cli.recon3d,
    "simulate": cli.simulate,
    "cells": cli.cells,
    "compare": cli.compare,
    "check": cli.check_geometry,
    "convert": cli.convert,
}

if __name__ == "__main__":
    name = sys.argv.pop(1) if len(sys.argv) > 1 else "none"
    if name not in PROGRAMS:
        sys.stderr.write(f"usage: python -m {__package__} {{{','.join(PROGRAMS)}}} ...\n")
        raise SystemExit(0 if name in ("-h", "--help") else 2)
    raise SystemExit(PROGRAMS[name]())
