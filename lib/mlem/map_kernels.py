"""The inner loops of the iterative method, on maps that are stored in runs (see `maps.Maps`).

Images hold one row per active pixel with the orientations, or the scanned tilts, contiguous; `place` says
where the voxels fall (see `projection.footprint`).
"""

from __future__ import annotations

import numpy as np

from ..projection.footprint import AT_ONCE, fall, room_for
from ..projection.jit import kernel

_VANISHED = np.float32(1e-20)  # counts; far less would not fit into a float, which is slow
_LEAST_SEEN = np.float32(1e-6)  # of an orientation by all positions, from which it is corrected
_FADE = np.float32(0.2)  # of a limit, above which nothing is taken away
_TINY = np.finfo(np.float32).tiny
RUN = 8  # orientations that are handled together: a register of the processor
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_NOTHING = (_ZERO,) * RUN
_1, _2, _3, _4, _5, _6, _7 = (np.uintp(i) for i in range(1, RUN))


# A run is read, summed and written as a tuple of its values, on unsigned indices, with all read before any is
# written: so it compiles to a few vector instructions.


@kernel(inline="always")
def _run_of(array, number):  # type: ignore[no-untyped-def]
    """One run of a row."""
    i = np.uintp(number * RUN)
    return (
        array[i], array[i + _1], array[i + _2], array[i + _3],
        array[i + _4], array[i + _5], array[i + _6], array[i + _7],
    )  # fmt: skip


@kernel(inline="always")
def _plus(a, w, b):  # type: ignore[no-untyped-def]
    """Two runs: a + w b."""
    return (
        a[0] + w * b[0], a[1] + w * b[1], a[2] + w * b[2], a[3] + w * b[3],
        a[4] + w * b[4], a[5] + w * b[5], a[6] + w * b[6], a[7] + w * b[7],
    )  # fmt: skip


@kernel(inline="always")
def _write_run(array, number, a):  # type: ignore[no-untyped-def]
    """Set one run of a row."""
    i = np.uintp(number * RUN)
    array[i], array[i + _1], array[i + _2], array[i + _3] = a[0], a[1], a[2], a[3]
    array[i + _4], array[i + _5], array[i + _6], array[i + _7] = a[4], a[5], a[6], a[7]


@kernel(inline="always")
def _plus_block(a, row, number, block):  # type: ignore[no-untyped-def]
    """Add to a one run of a row times a block (RUN * RUN), in two sums that do not wait for each other."""
    i = np.uintp(number * RUN)
    b = _NOTHING
    for s in range(0, RUN, 2):
        a = _plus(a, row[i + np.uintp(s)], _run_of(block, s))
        b = _plus(b, row[i + np.uintp(s) + _1], _run_of(block, s + 1))
    return _plus(a, _ONE, b)


@kernel(fastmath={"contract", "reassoc"})
def scatter_maps(first, run, values, place, image):  # type: ignore[no-untyped-def]
    """`footprint.scatter` of maps that are stored in runs (see `maps.Maps`); image (n_rows, n_padded)."""
    flat, held_by, n_runs = image.reshape(-1), values.reshape(-1), image.shape[1] // RUN
    room = room_for(place[3])
    rows, weights, counts = room
    for start in range(0, first.size - 1, AT_ONCE):
        stop = min(start + AT_ONCE, first.size - 1)
        fall(place, start, stop, room)
        rows *= n_runs
        for v in range(stop - start):
            low, high = first[start + v], first[start + v + 1]
            n, c = counts[v] if high > low else np.uintp(0), np.uintp(0)
            while c + _3 < n:  # four pixels together
                p0, p1, p2, p3 = rows[v, c], rows[v, c + _1], rows[v, c + _2], rows[v, c + _3]
                w0, w1, w2, w3 = weights[v, c], weights[v, c + _1], weights[v, c + _2], weights[v, c + _3]
                for k in range(low, high):
                    held, r = _run_of(held_by, k), run[np.uintp(k)]
                    _write_run(flat, p0 + r, _plus(_run_of(flat, p0 + r), w0, held))
                    _write_run(flat, p1 + r, _plus(_run_of(flat, p1 + r), w1, held))
                    _write_run(flat, p2 + r, _plus(_run_of(flat, p2 + r), w2, held))
                    _write_run(flat, p3 + r, _plus(_run_of(flat, p3 + r), w3, held))
                c += _4
            while c < n:
                p0, w0 = rows[v, c], weights[v, c]
                for k in range(low, high):
                    r = run[np.uintp(k)]
                    _write_run(flat, p0 + r, _plus(_run_of(flat, p0 + r), w0, _run_of(held_by, k)))
                c += _1


@kernel(fastmath={"contract", "reassoc"})
def gather_maps(image, place, first, run, values):  # type: ignore[no-untyped-def]
    """The adjoint of `scatter_maps`: adds to those values that the maps hold."""
    flat, held_by, n_runs = image.reshape(-1), values.reshape(-1), image.shape[1] // RUN
    room = room_for(place[3])
    rows, weights, counts = room
    for start in range(0, first.size - 1, AT_ONCE):
        stop = min(start + AT_ONCE, first.size - 1)
        fall(place, start, stop, room)
        rows *= n_runs
        for v in range(stop - start):
            low, high = first[start + v], first[start + v + 1]
            n, c = counts[v] if high > low else np.uintp(0), np.uintp(0)
            while c + _3 < n:  # four pixels together
                p0, p1, p2, p3 = rows[v, c], rows[v, c + _1], rows[v, c + _2], rows[v, c + _3]
                w0, w1, w2, w3 = weights[v, c], weights[v, c + _1], weights[v, c + _2], weights[v, c + _3]
                for k in range(low, high):
                    held, r = _run_of(held_by, k), run[np.uintp(k)]
                    held = _plus(_plus(held, w0, _run_of(flat, p0 + r)), w1, _run_of(flat, p1 + r))
                    held = _plus(_plus(held, w2, _run_of(flat, p2 + r)), w3, _run_of(flat, p3 + r))
                    _write_run(held_by, k, held)
                c += _4
            while c < n:
                p0, w0 = rows[v, c], weights[v, c]
                for k in range(low, high):
                    held = _plus(_run_of(held_by, k), w0, _run_of(flat, p0 + run[np.uintp(k)]))
                    _write_run(held_by, k, held)
                c += _1


@kernel(inline="always")
def _see(row, number, orientation, block_first, column, blocks, sums):  # type: ignore[no-untyped-def]
    """Add to sums what the scanned tilts see of one run of a row, that of these orientations."""
    for b in range(block_first[orientation], block_first[orientation + 1]):
        place = column[np.uintp(b)]
        _write_run(sums, place, _plus_block(_run_of(sums, place), row, number, blocks[np.uintp(b)]))


@kernel(inline="always")
def _see_back(a, seen, orientation, block_first, column, turned):  # type: ignore[no-untyped-def]
    """Add to a what one run of orientations gets back from the scanned tilts."""
    for b in range(block_first[orientation], block_first[orientation + 1]):
        a = _plus_block(a, seen, column[np.uintp(b)], turned[np.uintp(b)])
    return a


@kernel(fastmath={"contract", "reassoc"})
def respond_pixels(image, strip, block_first, column, blocks, out, lit):  # type: ignore[no-untyped-def]
    """What the scanned tilts see of an image: out (n_rows, n_scanned) = image (n_rows, n_padded) K^T.

    K comes in blocks, for each strip of the rows its own (see `response.BlockResponse`). lit (n_rows, n_runs)
    says which runs of the image hold something.
    """
    n_scanned = out.shape[1]
    sums = np.empty(-(-n_scanned // RUN) * RUN, dtype=np.float32)
    for p in range(image.shape[0]):
        row = image[p]
        sums[:] = _ZERO
        for r in range(lit.shape[1]):
            x = _run_of(row, r)
            lit[p, r] = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7])) > _ZERO
            if lit[p, r]:
                _see(row, r, strip[p] * lit.shape[1] + r, block_first, column, blocks, sums)
        for t in range(n_scanned):
            out[p, t] = sums[t]


@kernel(fastmath={"contract", "reassoc"})
def respond_pixels_back(image, strip, block_first, column, turned, lit, out):  # type: ignore[no-untyped-def]
    """The adjoint of `respond_pixels`: sets out (n_rows, n_padded), to zero in runs that are not lit."""
    n_scanned = image.shape[1]
    seen = np.zeros(-(-n_scanned // RUN) * RUN, dtype=np.float32)
    for p in range(image.shape[0]):
        for t in range(n_scanned):
            seen[t] = image[p, t]
        for r in range(lit.shape[1]):
            a = _NOTHING
            if lit[p, r]:
                a = _see_back(a, seen, strip[p] * lit.shape[1] + r, block_first, column, turned)
            _write_run(out[p], r, a)


@kernel(fastmath={"contract", "reassoc"})
def respond_voxels(first, run, values, block_first, column, blocks, out):  # type: ignore[no-untyped-def]
    """What the scanned tilts see of the maps: out (n_voxels, n_scanned); see `respond_pixels`."""
    n_scanned = out.shape[1]
    sums = np.empty(-(-n_scanned // RUN) * RUN, dtype=np.float32)
    for v in range(first.size - 1):
        sums[:] = _ZERO
        for k in range(first[v], first[v + 1]):
            _see(values[k], 0, run[k], block_first, column, blocks, sums)
        for t in range(n_scanned):
            out[v, t] = sums[t]


@kernel(fastmath={"contract", "reassoc"})
def respond_voxels_back(image, block_first, column, turned, first, run, values):  # type: ignore[no-untyped-def]
    """The adjoint of `respond_voxels` of an image (n_voxels, n_scanned): adds to what the maps hold."""
    n_scanned = image.shape[1]
    seen = np.zeros(-(-n_scanned // RUN) * RUN, dtype=np.float32)
    for v in range(first.size - 1):
        for t in range(n_scanned):
            seen[t] = image[v, t]
        for k in range(first[v], first[v + 1]):
            held = _run_of(values[k], 0)
            _write_run(values[k], 0, _see_back(held, seen, run[k], block_first, column, turned))


@kernel(fastmath={"contract", "reassoc"}, error_model="numpy")
def sum_light(expected, counts, measured, owned, least):  # type: ignore[no-untyped-def]
    """Sums over the known values of owned pixels: light, counts and how many, of all and of the lit: (6,).

    expected and counts are (n_rows, n_scanned), measured (n_scanned,) is 1 or 0; lit is where `least` or more
    is expected.
    """
    sums = np.zeros(6)
    for r in range(expected.shape[0]):
        if not owned[r]:
            continue
        row, data = expected[r], counts[r]
        light, count, n = _ZERO, _ZERO, _ZERO
        lit_light, lit_count, n_lit = _ZERO, _ZERO, _ZERO
        for t in range(row.size):
            c = np.float32(data[t])
            known = measured[t] if c == c else _ZERO  # noqa: PLR0124 - NaN is not
            c = c if c == c else _ZERO  # noqa: PLR0124
            lit = known if row[t] >= least else _ZERO
            light += known * row[t]
            count += known * c
            n += known
            lit_light += lit * row[t]
            lit_count += lit * c
            n_lit += lit
        sums[0] += light
        sums[1] += count
        sums[2] += n
        sums[3] += lit_light
        sums[4] += lit_count
        sums[5] += n_lit
    return sums


@kernel(fastmath={"contract", "reassoc"}, error_model="numpy")
def compare(expected, counts, measured, owned, factor, dark, faintest):  # type: ignore[no-untyped-def]
    """Turn light (n_rows, n_scanned), of a brightness 1, into factor * counts / expected, in place.

    factor is the brightness; dark is that of `physics.noise.Dark.for_kernel`; its variance, in photons, is
    added to both sides. Returns chi-square for a gain of 1 and the number of values in it: those of owned
    pixels where `measured` is 1, not 0, and the least light or more is expected; of one value no more
    than the most of `dark` counts. Counts that are NaN, not known, are taken as expected. Without branches,
    so that it compiles to vector instructions.
    """
    level, cut, noise, least, most = dark
    chi_square, n_values = np.float64(0.0), np.float64(0.0)
    for r in range(expected.shape[0]):
        row, data, in_row, n_in_row = expected[r], counts[r], _ZERO, _ZERO
        for t in range(row.size):
            light = factor * row[t]
            x = light + level
            e = max(_HALF * (x + np.sqrt(x * x + cut * cut)) + noise, faintest)
            count = np.float32(data[t])
            c = count + noise if count == count else e  # noqa: PLR0124 - NaN is not
            ratio = c / e
            counted = measured[t] if (light >= least) & (count == count) else _ZERO  # noqa: PLR0124
            in_row += min((c - e) * (ratio - _ONE), most) * counted
            n_in_row += counted
            row[t] = factor * ratio
        if owned[r]:
            chi_square += in_row
            n_values += n_in_row
    return chi_square, n_values


@kernel(inline="always")
def _corrected(value, correction, seen):  # type: ignore[no-untyped-def]
    """A value times its correction over its sensitivity, without branches."""
    x = value * correction / max(seen, _LEAST_SEEN)
    x = x if seen > _LEAST_SEEN else value
    return x if x > _VANISHED else _ZERO


@kernel(fastmath={"contract", "reassoc"}, error_model="numpy")
def multiply(first, run, values, corrections, cover, seen, which):  # type: ignore[no-untyped-def]
    """Values *= corrections / sensitivity, where there is any; both (n_runs, RUN).

    The sensitivity of voxel v and orientation s is the sum over views k of cover[k, v] seen[which[k, v], s].
    """
    flat, n_runs = seen.reshape(-1), seen.shape[1] // RUN
    held, factors = values.reshape(-1), corrections.reshape(-1)
    for v in range(first.size - 1):
        for k in range(first[v], first[v + 1]):
            t = _NOTHING
            for view in range(cover.shape[0]):
                t = _plus(t, cover[view, v], _run_of(flat, which[view, v] * n_runs + run[k]))
            x, c = _run_of(held, k), _run_of(factors, k)
            corrected = (
                _corrected(x[0], c[0], t[0]), _corrected(x[1], c[1], t[1]),
                _corrected(x[2], c[2], t[2]), _corrected(x[3], c[3], t[3]),
                _corrected(x[4], c[4], t[4]), _corrected(x[5], c[5], t[5]),
                _corrected(x[6], c[6], t[6]), _corrected(x[7], c[7], t[7]),
            )  # fmt: skip
            _write_run(held, k, corrected)


@kernel()
def find_highest(first, values, top):  # type: ignore[no-untyped-def]
    """The highest value of each map: top (n_voxels,), zero where nothing is left."""
    for v in range(top.size):
        best = _ZERO
        for k in range(first[v], first[v + 1]):
            for s in range(RUN):
                best = max(best, values[np.uintp(k), np.uintp(s)])
        top[v] = best


@kernel(error_model="numpy")
def fade_out(first, values, limit, fade, kept):  # type: ignore[no-untyped-def]
    """What is left of each run (n_runs,) and how many runs each map keeps (n_voxels,); see `Maps.above`."""
    for v in range(limit.size):
        n = 0
        for k in range(first[v], first[v + 1]):
            best = _ZERO
            for s in range(RUN):
                best = max(best, values[np.uintp(k), np.uintp(s)])
            over = best - limit[v]
            if over > _ZERO:
                fade[k] = min(over / max(_FADE * limit[v], _TINY), _ONE)
                n += 1
            else:
                fade[k] = _ZERO
        kept[v] = n
