"""Rows from temporary files and by key: against dictionaries of lists on random rows, and how far a file is read."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from lhotse_prep.manifests.grouped import Grouped, Spill, key_digest

Row = tuple[str, int]


def rows_of(seed: int, stand_together: bool) -> list[Row]:
    """Rows (key, number) of random keys; apart from each other unless they stand together."""
    rng = random.Random(seed)
    keys = [f"k{i}" for i in range(rng.randint(0, 8)) for _ in range(rng.randint(1, 4))]
    if stand_together:
        order = rng.sample(range(8), 8)
        keys.sort(key=lambda key: order[int(key[1:])])
    else:
        rng.shuffle(keys)
    return [(key, i) for i, key in enumerate(keys)]


def in_lists(rows: list[Row]) -> dict[str, list[Row]]:
    by_key: dict[str, list[Row]] = {}
    for row in rows:
        by_key.setdefault(row[0], []).append(row)
    return by_key


@pytest.mark.parametrize("stand_together", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_rows_of_keys_in_any_order_are_those_of_a_dictionary(seed: int, stand_together: bool, tmp_path: Path) -> None:
    rows = rows_of(seed, stand_together)
    by_key = in_lists(rows)
    grouped = Grouped(lambda: iter(rows), lambda row: row[0], tmp_path, None)
    asked = random.Random(seed + 1).sample(["none", *(f"k{i}" for i in range(8))], 9)
    lookup = grouped.lookup()
    assert {key: lookup.rows_of(key) for key in asked} == {key: by_key.get(key, []) for key in asked}
    assert list(grouped.groups()) == list(by_key.items())
    assert [key in grouped for key in asked] == [key in by_key for key in asked]


@pytest.mark.parametrize("seed", range(20))
def test_a_lookup_that_keeps_gives_the_rows_again(seed: int) -> None:
    rows = rows_of(seed, stand_together=bool(seed % 2))
    lookup = Grouped(lambda: iter(rows), lambda row: row[0], None, None).lookup(keeps=True)
    asked = random.Random(seed).choices([f"k{i}" for i in range(8)], k=30)
    assert [lookup.rows_of(key) for key in asked] == [in_lists(rows).get(key, []) for key in asked]


def test_keys_in_the_order_of_the_file_are_read_no_further_than_needed() -> None:
    rows = [(f"k{i // 3}", i) for i in range(300)]
    num_read = 0

    def read() -> Iterator[Row]:
        nonlocal num_read
        num_read = 0
        for row in rows:
            num_read += 1
            yield row

    lookup = Grouped(read, lambda row: row[0], None, None).lookup()
    for i in range(0, 100, 7):
        assert lookup.rows_of(f"k{i}") == rows[3 * i : 3 * i + 3]
        assert num_read <= 3 * i + 4  # the row after the group tells that it has ended
    assert lookup.rows_of("of no row") == [] and num_read < 300  # it is not searched for


def test_two_readers_of_a_spill_do_not_disturb_each_other(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "new", [{"i": i} for i in range(5)])
    pairs = list(zip(spill, spill))
    assert pairs == [({"i": i}, {"i": i}) for i in range(5)] and len(spill) == 5
    half = iter(spill)
    assert next(half) == {"i": 0}
    place = spill.add({"i": 5})
    assert spill.at(place) == {"i": 5} and next(half) == {"i": 1}
    assert os.listdir(tmp_path / "new") == []


def test_a_spill_needs_no_more_memory_than_a_row(tmp_path: Path) -> None:
    import tracemalloc

    tracemalloc.start()
    spill = Spill(tmp_path, ("x" * 10_000 for _ in range(1000)))  # 10 MB
    num_characters = sum(map(len, spill))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_characters == 10**7 and peak < 500_000
    del spill
    gc.collect()


def test_digests_tell_keys_apart() -> None:
    keys = [("ab", "c"), ("a", "bc"), ("abc",), ("\ud800",), ("", "abc")]
    assert len({key_digest(*key) for key in keys}) == len(keys)
