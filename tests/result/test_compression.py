"""Compressed chunks: HDF5 reads back what was given, and the plain way of h5py gives the same values."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from lib.result import compression, volume
from lib.result.compression import chunk_places, chunk_sides, compress_slab, compressed, slabs
from tests.result.test_volume import grain  # noqa: F401 - a fixture

RNG = np.random.default_rng(3)
SHAPES = ((1, 1, 1), (5, 1, 3), (32, 33, 64), (31, 70, 45))
NAN = np.array([0x7FF8000000000001, 0xFFF8000000000000], dtype=np.uint64).view(np.float64)


def fields(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Values of every kind: smooth, noisy, empty, of one value here and there, odd bits."""
    noise = RNG.standard_normal(shape)
    partly = np.where(noise > 0.5, 1e3 + noise, np.nan)
    partly[: shape[0] // 2] = np.nan
    return {
        "noise": noise,
        "smooth": np.linspace(0.0, 1.0, noise.size).reshape(shape),
        "empty": np.full(shape, np.nan),
        "zero": np.zeros(shape),
        "partly": partly,
        "odd": RNG.choice(np.array([-0.0, 0.0, np.inf, -np.inf, 5e-324, *NAN]), shape),
        "mask": noise > 0,
        "bytes": RNG.integers(0, 256, (*shape, 3)).astype(np.uint8),
        "single": noise.astype(np.float32),
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", fields((1, 1, 1)))
def test_hdf5_reads_back_every_bit(tmp_path: Path, shape: tuple[int, int, int], name: str) -> None:
    values = fields(shape)[name]
    dtype = "u1" if name == "mask" else values.dtype.str
    sides = chunk_sides(shape)
    stored = np.swapaxes(values, 0, 2).astype(dtype)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        how = {"chunks": (*sides[::-1], *values.shape[3:]), "compression": "gzip", "shuffle": True}
        how["compression_opts"] = 1
        dataset = file.create_dataset("d", stored.shape, dtype, **how)
        rest = (0,) * (values.ndim - 3)
        for x, y in slabs(sides, shape, 40_000):
            places = chunk_places(sides, (x, y), shape[2])
            chunks = compress_slab(sides, dtype, values[x.start : x.stop, y.start : y.stop])
            for place, chunk in zip(places, chunks, strict=True):
                dataset.id.write_direct_chunk((*place, *rest), chunk)
        plain = file.create_dataset("plain", data=stored, **how)
        assert dataset[()].tobytes() == plain[()].tobytes() == stored.tobytes()
        assert dataset.id.get_num_chunks() == plain.id.get_num_chunks()
        if name != "smooth":  # whose low bytes repeat themselves, though all of them are as frequent
            assert dataset.id.get_storage_size() < 1.05 * plain.id.get_storage_size() + 64


def test_chunks_are_even_and_cover_everything() -> None:
    for n in range(1, 400):
        (side,) = chunk_sides((n,))
        n_chunks = -(-n // side)
        assert side <= 32
        assert n_chunks == -(-n // 32)
        assert n_chunks * side - n < n_chunks


def test_slabs_cover_the_volume_once() -> None:
    for shape in (*SHAPES, (100, 300, 20), (2, 3, 5000)):
        sides, seen = chunk_sides(shape), np.zeros(shape[:2], dtype=int)
        for x, y in slabs(sides, shape, 200_000):
            assert x.start % sides[0] == y.start % sides[1] == 0
            assert len(x) * len(y) * shape[2] <= max(200_000, sides[0] * sides[1] * shape[2])
            seen[x.start : x.stop, y.start : y.stop] += 1
        assert (seen == 1).all()


def test_bytes_without_a_pattern_are_stored_and_the_others_are_not() -> None:
    """The stream of a noisy chunk is as long as its random bytes; zlib alone reads it."""
    noisy = 1.0 + RNG.random((32, 32, 32)) / 2
    stream = compressed(noisy)
    planes = np.ascontiguousarray(noisy.reshape(-1).view(np.uint8).reshape(-1, 8).T)
    assert zlib.decompress(stream) == planes.tobytes()
    assert 6 * noisy.size < len(stream) < 7.2 * noisy.size
    assert len(stream) < 1.02 * len(zlib.compress(planes.tobytes(), 1))


def test_a_chunk_of_one_value_is_compressed_once() -> None:
    compression._constant.cache_clear()
    for _ in range(5):
        compressed(np.full((32, 32, 32), np.nan))
        compressed(np.full((32, 32, 32), 7, dtype=np.uint8))
    assert compression._constant.cache_info().misses == 2
    assert compressed(np.zeros((4, 4))) != compressed(np.full((4, 4), -0.0))


def test_a_field_may_lie_in_memory_anyhow(tmp_path: Path, grain: volume.Volume) -> None:  # noqa: F811
    """Strides, other dtypes and read-only arrays are as good."""
    odd = {name: np.asfortranarray(values) for name, values in grain.fields.items()}
    odd["intensity"] = odd["intensity"].astype(np.float32)
    odd["completeness"] = grain.fields["completeness"][::-1][::-1]
    odd["tilt1"].flags.writeable = False
    volume.write(tmp_path / "odd.vtkhdf", replace(grain, fields=odd))
    found = volume.read(tmp_path / "odd.vtkhdf")
    for name, values in grain.fields.items():
        wanted = values.astype(np.float32) if name == "intensity" else values
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)


def test_where_tilt2_is_known_nowhere_the_colours_are_those_of_the_whole(
    tmp_path: Path,
    grain: volume.Volume,  # noqa: F811
) -> None:
    """A slab whose tilt2 is unknown by chance is black; in a scan without tilt2, tilt1 decides."""
    shape = (70, 3, 2)
    tilt1, tilt2 = RNG.normal(size=(2, *shape))
    tilt2[:40] = np.nan
    whole = {name: np.zeros(shape) for name in grain.fields} | {"tilt1": tilt1, "tilt2": tilt2}
    for known in (tilt2, np.full(shape, np.nan)):
        one = replace(grain, fields=whole | {"tilt2": known}, mask=np.ones(shape, dtype=bool))
        volume.write(tmp_path / "c.vtkhdf", one)
        with h5py.File(tmp_path / "c.vtkhdf") as file:
            rgb = file["VTKHDF/CellData/rgb"][()].swapaxes(0, 2)
        np.testing.assert_array_equal(rgb, one.rgb)
        assert (rgb[:40] == 0).all() == np.isfinite(known).any()
