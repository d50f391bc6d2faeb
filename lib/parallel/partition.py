"""Who owns what: block splits as pure integers."""

from __future__ import annotations


def block(n_items: int, n_parts: int, part: int) -> range:
    """The items of one part when n_items are split into n_parts blocks that differ by at most one.

    The blocks follow each other and cover everything; with more parts than items the last are empty.
    >>> [list(block(7, 3, part)) for part in range(3)]
    [[0, 1, 2], [3, 4], [5, 6]]
    """
    if not 0 <= part < n_parts:
        raise ValueError(f"part {part} of {n_parts}: must be 0..{n_parts - 1}")
    size, larger = divmod(n_items, n_parts)
    start = part * size + min(part, larger)
    return range(start, start + size + (part < larger))


def blocks_of_at_most(items: range, largest: int) -> list[range]:
    """Cut a range into the fewest even blocks of at most `largest` items each."""
    if not items:
        return []
    n_parts = -(-len(items) // max(1, largest))
    return [items[b.start : b.stop] for b in (block(len(items), n_parts, p) for p in range(n_parts))]
