"""Progress on standard error: a bar on a terminal, a line now and then in a batch log."""

from __future__ import annotations

import sys
import time

_TERMINAL_INTERVAL_S = 0.1
_LOG_INTERVAL_S = 15.0
_BAR_WIDTH = 24


class Progress:
    """Counts what one rank has done of its share and shows it with rate and time left.

    Ranks have even shares, so rank 0 speaks for all: `total` is what this rank will count and
    `overall` the `unit`s of the whole run that its share stands for. With `bytes_each`, the bytes of a
    unit, it also shows MB/s. Silent where `visible` is false.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        *,
        overall: int | None = None,
        bytes_each: int = 0,
        visible: bool = True,
    ) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.overall = total if overall is None else overall
        self.bytes_each = bytes_each
        self.visible = visible and total > 0
        self.terminal = sys.stderr.isatty()
        self.done = 0
        self.start = self.last = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.visible and kind is None:
            self._show(time.monotonic(), "\n")
        elif self.visible and self.terminal:
            sys.stderr.write("\n")

    def advance(self, count: int = 1) -> None:
        """Count `count` more as done."""
        self.done += count
        now = time.monotonic()
        if self.visible and now - self.last >= (_TERMINAL_INTERVAL_S if self.terminal else _LOG_INTERVAL_S):
            self._show(now, "" if self.terminal else "\n")

    def finish(self) -> None:
        """What is left turned out not to be needed."""
        self.done = self.total

    def _show(self, now: float, end: str) -> None:
        self.last = now
        elapsed = max(now - self.start, 1e-9)
        rate = self.done / elapsed
        left = (self.total - self.done) / rate if rate else 0.0
        share = self.done / self.total
        bar = "#" * round(share * _BAR_WIDTH)
        head = f"\r{self.label} [{bar:<{_BAR_WIDTH}}]" if self.terminal else f"{self.label}:"
        timing = f"{_duration(left)} left" if self.done < self.total else f"in {_duration(elapsed)}"
        speed = share * self.overall / elapsed
        volume = f"  {speed * self.bytes_each / 1e6:.4g} MB/s" if self.bytes_each else ""
        counts = f"{round(share * self.overall)}/{self.overall} {self.unit}"
        text = f"{head} {share:4.0%}  {counts}  {speed:.4g}/s{volume}  {timing}"
        sys.stderr.write(text + ("\033[K" if self.terminal else "") + end)
        sys.stderr.flush()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
