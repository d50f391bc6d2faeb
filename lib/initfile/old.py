"""Init files of the 2017 programs, line by line into one of today.

What those programs read from a file is kept; what they ignored is left out, and said. They evaluated each
value, so arithmetic such as 2*9. is worked out here too.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from ..errors import Recon3DError
from .parameters import KEYS
from .parse import format_key, from_keys, parse_value, read_value
from .readers import Mistake, shorten

_DETECTOR_TILTS = ("t_x", "t_y", "t_z")
_FOCUS_POINTS = ("xyz_up", "xyz_lo", "xyz_th")
_VOLUME = ("grain_pos", "grain_dim", "grain_steps")
_ROWS_ALONG_THE_AXIS = {
    "sample": {"o11": 0, "o12": 1, "o21": 1, "o22": 0, "omega_sign": 1},
    "lab": {"o11": 0, "o12": 1, "o21": -1, "o22": 0, "omega_sign": -1},
}
_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def translate(
    text: str, where: str, path: str, tilt_frame: str, center_px: tuple[float, float] | None
) -> tuple[str, list[str]]:
    """The text of today's init file for the array in the folder `path`, and notes on what changed.

    tilt_frame "lab" is that of the programs with mu and gamma, "sample" that of those with alpha and beta.
    Raises Recon3DError that names the line which cannot be read.
    """
    keys, notes = _read(text, where)
    for name in _DETECTOR_TILTS:
        if keys.pop(name, None) is not None:
            notes.append(f"{name} is left out: the 2017 programs took the detector as normal to the beam")
    if tilt_frame == "lab":
        notes += _from_esrf_axes(keys)
    keys = {**keys, "path": path, **_ROWS_ALONG_THE_AXIS[tilt_frame]}
    if center_px is not None:
        keys["detector_center"] = center_px
    params = from_keys(keys, where)
    lines = [f"{name} {format_key(name, getattr(params, name))}" for name in KEYS if name in keys]
    return "\n".join([f"# made from {where} by recon3d-convert", *lines]) + "\n", notes


def _read(text: str, where: str) -> tuple[dict[str, Any], list[str]]:
    """The keys that are known, and notes on those that are not."""
    keys: dict[str, Any] = {}
    notes = []
    for number, line in enumerate(text.splitlines(), start=1):
        name, *rest = line.split("#")[0].split(maxsplit=1)[:2] or [""]
        if name and name not in KEYS:
            notes.append(f"line {number}: {shorten(name)} is left out: nothing reads it")
        elif name and rest:
            if name in keys:
                notes.append(f"line {number}: {name} is given again; this line counts")
            try:
                keys[name] = _value(name, rest[0].strip())
            except Mistake as mistake:
                raise Recon3DError(f"{where}: line {number}", f"{name}: {mistake}") from None
    return keys, notes


def _value(name: str, text: str) -> Any:
    try:
        return read_value(name, parse_value(text))
    except Mistake:
        try:
            return read_value(name, _work_out(ast.parse(text, mode="eval").body))
        except (SyntaxError, ValueError, ArithmeticError, TypeError):
            pass
        raise


def _work_out(node: ast.expr) -> Any:
    """Numbers, lists and arithmetic; nothing else is evaluated."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_work_out(item) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_work_out(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_work_out(node.left), _work_out(node.right))
    raise ValueError


def _from_esrf_axes(keys: dict[str, Any]) -> list[str]:
    """Turn keys of the programs with mu and gamma, whose x was the beam and y the rotation axis."""
    notes = []
    for name in _VOLUME:
        if name in keys:
            x, y, z = keys[name]
            keys[name] = (-y if name == "grain_pos" else y, x, z)
    if any(len(set(keys.get(name, (0,)))) > 1 or any(keys.get("grain_pos", ())) for name in _VOLUME):
        notes.append("grain_pos, grain_dim, grain_steps: today's x is the rotation axis (was -y), y the beam")
    for name in _FOCUS_POINTS:
        if any(keys.pop(name, ())):
            notes.append(f"{name} is left out: the 2017 programs with mu and gamma did not read it")
    if keys.get("mode") == "vertical":
        notes.append("mode is horizontal: the 2017 programs with mu and gamma knew no other")
    keys["mode"] = "horizontal"
    return notes
