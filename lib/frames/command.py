"""The scan command: where the motors should have stood, by fscan_parameters or the title of an entry.

A title is the command as it was typed: `fscan2d chi -0.58 0.08 26 diffry 7.12 0.06 37 0.6 0.6004`. Scans
whose names begin with f, and zap scans, are continuous: their fast motor moves while the camera exposes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_COMMAND = re.compile(r"\w*(scan|mesh|zap)\w*|s?ct", re.IGNORECASE)  # a first word that BLISS or SPEC knows
_CONTINUOUS = re.compile(r"f\d?scan(\d)?d?$")
_STEPPED = re.compile(r"([ad])(\d)?scan$")
_MESH = re.compile(r"([ad])?mesh$")
_ZAP = re.compile(r"zap(line|image)$")


@dataclass(frozen=True)
class Sweep:
    """One motor of a command: n positions from `start`, `step` apart."""

    motor: str
    start: float
    step: float
    n: int

    def __str__(self) -> str:
        return f"{self.motor} {self.start:g} {self.step:g} {self.n}"


@dataclass(frozen=True)
class Command:
    """What was to be scanned: levels from the slowest to the fastest, each of motors that move together.

    relative positions count from where the motor stood; zigzag rows go forth and back; source is
    `fscan_parameters` or the title.
    """

    source: str
    levels: tuple[tuple[Sweep, ...], ...]
    continuous: bool = False
    zigzag: bool = False
    relative: bool = False

    @property
    def n_frames(self) -> int:
        """Frames of the whole scan."""
        return int(np.prod([level[0].n for level in self.levels]))

    @property
    def sweeps(self) -> dict[str, Sweep]:
        """The motors by name."""
        return {sweep.motor: sweep for level in self.levels for sweep in level}

    @property
    def moving(self) -> tuple[str, ...]:
        """The motors that move during the exposure."""
        return tuple(sweep.motor for sweep in self.levels[-1]) if self.continuous else ()

    def frames_per_position(self, motor: str) -> int:
        """How many frames follow each other before this motor takes its next position."""
        sizes = [level[0].n for level in self.levels]
        depth = next(i for i, level in enumerate(self.levels) if motor in {s.motor for s in level})
        return int(np.prod(sizes[depth + 1 :], initial=1))

    def steps(self, motor: str, n_frames: int) -> NDArray[np.int64]:
        """Number of the position of each frame (n_frames,)."""
        count, n = np.arange(n_frames), self.sweeps[motor].n
        row, place = np.divmod(count // self.frames_per_position(motor), n)
        back = self.zigzag & (row % 2 == 1) & (motor in {s.motor for s in self.levels[-1]})
        return np.asarray(np.where(back, n - 1 - place, place))

    def positions(self, motor: str, n_frames: int, at_start: float | None = None) -> Values | None:
        """Where the motor should have been in the middle of each exposure (n_frames,); None if unknown."""
        sweep = self.sweeps[motor]
        if self.relative and at_start is None:
            return None
        zero = (at_start or 0.0) if self.relative else 0.0
        half = 0.5 if motor in self.moving else 0.0
        return np.asarray(zero + sweep.start + sweep.step * (self.steps(motor, n_frames) + half), np.float64)


def of_title(title: str) -> Command | None:
    """The command that a title is, None for one that scans no motor, or that is not understood."""
    name, words = _words(title)
    continuous, stepped, mesh = _CONTINUOUS.match(name), _STEPPED.match(name), _MESH.match(name)
    try:
        if continuous:
            groups = _groups(words)
            levels = (groups,) if re.match(r"f\dscan$", name) else tuple((sweep,) for sweep in groups)
            return Command("title", levels, continuous=True) if groups else None
        if stepped:
            together = _together(words, int(stepped[2] or 1))
            return Command("title", (together,), relative=stepped[1] == "d")
        if mesh:
            fast, slow = (_between(words[i : i + 3], int(words[i + 3])) for i in (0, 4))
            return Command("title", ((slow,), (fast,)), relative=mesh[1] == "d")
        if _ZAP.match(name):
            return _zap(words, image=name == "zapimage")
    except (ValueError, IndexError):
        return None
    return None


def _words(title: str) -> tuple[str, list[str]]:
    """The first word of a title, and the others without the brackets and commas of Python."""
    word, *rest = re.split(r"[\s(),]+", title.strip()) or [""]
    return word, [other for other in rest if other]


def _zap(words: Sequence[str], *, image: bool) -> Command:
    """Zapline motor start end pixels; zapimage: the same, then the slow motor, start, end, intervals.

    The pixels lie between start and end. The time of a pixel follows them, or stands at the end.
    """
    n = int(words[3])
    start, end = float(words[1]), float(words[2])
    if n < 1 or _is_number(words[0]):
        raise ValueError(words)
    fast = Sweep(words[0], start, (end - start) / n, n)
    if not image:
        return Command("title", ((fast,),), continuous=True)
    rest = words[4 + _is_number(words[4]) :]
    return Command("title", ((_between(rest[:3], int(rest[3])),), (fast,)), continuous=True)


def _groups(words: Sequence[str]) -> tuple[Sweep, ...]:
    """Motor, start, step and number, again and again, up to the first word that is no motor."""
    found = []
    while len(words) >= 4 and not _is_number(words[0]):
        found.append(Sweep(words[0], float(words[1]), float(words[2]), int(words[3])))
        words = words[4:]
    return tuple(found)


def _together(words: Sequence[str], n_motors: int) -> tuple[Sweep, ...]:
    """Motors that step together, each with start and end; the number of intervals follows."""
    intervals = int(words[3 * n_motors])
    return tuple(_between(words[3 * i : 3 * i + 3], intervals) for i in range(n_motors))


def _between(words: Sequence[str], intervals: int) -> Sweep:
    motor, start, end = words[0], float(words[1]), float(words[2])
    if _is_number(motor):
        raise ValueError(motor)
    return Sweep(motor, start, (end - start) / intervals if intervals else 0.0, intervals + 1)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def of_parameters(parameters: Mapping[str, str]) -> Command | None:
    """The command that fscan_parameters give, all of them as text; None where they do not give one."""
    levels = []
    for prefix in ("slow2_", "slow1_", "slow_", "", "fast_"):
        motor = parameters.get(f"{prefix}motor")
        if not motor:
            continue
        try:
            start, step = (float(parameters[f"{prefix}{key}"]) for key in ("start_pos", "step_size"))
            levels.append((Sweep(motor, start, step, int(float(parameters[f"{prefix}npoints"]))),))
        except (KeyError, ValueError):
            return None
    if not levels or any(level[0].n < 1 for level in levels):
        return None
    zigzag = parameters.get("fast_motor_mode", "").upper() == "ZIGZAG"
    return Command("fscan_parameters", tuple(levels), continuous=True, zigzag=zigzag)


def moving_of(title: str, parameters: Mapping[str, str]) -> tuple[str, ...] | None:
    """The motors that move while a frame is taken, by fscan_parameters, else by the title.

    None where neither is a command that is understood.

    >>> moving_of("fscan2d chi -0.5 0.08 26 diffry 7.12 0.06 37 0.5 0.5004", {})
    ('diffry',)
    >>> moving_of("ascan mu 0 1 10 0.1", {})
    ()
    """
    command = of_parameters(parameters) or of_title(title)
    return None if command is None else command.moving


@dataclass(frozen=True)
class Outline:
    """What a command says at least: its first word, the motors that it names, their steps (None: not said).

    word is empty where a title is free text.
    """

    word: str = ""
    motors: tuple[str, ...] = ()
    steps: tuple[float | None, ...] = ()


def outline_of(title: str, parameters: Mapping[str, str], motors: frozenset[str] = frozenset()) -> Outline:
    """The outline of a scan by its fscan_parameters, else by its title.

    In a title that is a command but no known one, what is followed by numbers is a motor, and so are the
    names in `motors`.

    >>> outline_of("fscan2d chi -0.5 0.08 26 diffry 7.12 0.06 37 0.5 0.5004", {})
    Outline(word='fscan2d', motors=('chi', 'diffry'), steps=(0.08, 0.06))
    >>> outline_of("ascan mu 0 1 10 0.1", {})
    Outline(word='ascan', motors=('mu',), steps=(0.1,))
    >>> outline_of("the sample at 300 K", {})
    Outline(word='', motors=(), steps=())
    """
    given = [(p, parameters[f"{p}motor"]) for p in ("", "slow_", "fast_") if parameters.get(f"{p}motor")]
    name = parameters.get("scan_name") or parameters.get("scan_type")
    if name and given:
        steps = tuple(_number(parameters.get(f"{prefix}step_size", "")) for prefix, _ in given)
        return Outline(name, tuple(motor for _, motor in given), steps)
    word, words = _words(title)
    if not _COMMAND.fullmatch(word):
        return Outline()
    command = of_title(title)
    sweeps = command.sweeps if command else {}
    found = {
        name: sweeps[name].step if name in sweeps else None for name in _named(words, {*motors, *sweeps})
    }
    return Outline(word, tuple(found), tuple(found.values()))


def _named(words: Sequence[str], motors: Collection[str]) -> list[str]:
    """The words that are motors, or that several numbers follow."""
    places = [i for i, word in enumerate(words) if not _is_number(word)]
    ends = [*places[1:], len(words)]
    return [
        words[i]
        for i, end in zip(places, ends, strict=False)
        if words[i] in motors or (words[i].isidentifier() and end - i > 2)
    ]


def _number(text: str) -> float | None:
    return float(text) if _is_number(text) else None


def disagreement(one: Command, other: Command) -> str | None:
    """What two commands say differently, if anything."""
    first, second = ("; ".join(str(s) for level in c.levels for s in level) for c in (one, other))
    if first == second:
        return None
    return f"{one.source} says {first} (motor, start, step, number), the {other.source} {second}"
