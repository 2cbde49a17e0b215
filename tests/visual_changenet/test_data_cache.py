"""Pictures kept in memory and on disk: shared, checked, and rebuilt when damaged."""

import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from visual_changenet.data.cache import DiskCache
from visual_changenet.data.images import Pixels
from visual_changenet.data.store import PixelStore, SharedSlots
from visual_changenet.errors import DataInvalidError

SHAPE = (5, 4, 3)


class Decoder:
    """Counts its calls; the pixels follow from the file's length."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, path: Path) -> Pixels:
        self.calls += 1
        return np.full(SHAPE, path.stat().st_size, np.uint8)


@pytest.fixture
def source(hostile_dir: Path) -> Path:
    path = hostile_dir / "picture ü.png"
    path.write_bytes(b"12345")
    return path


def fresh(folder: Path) -> DiskCache:
    return DiskCache(folder / "cache", SHAPE, "rgb")


def test_memory_decodes_once_and_holds_what_fits(source: Path) -> None:
    other, decoder = source.with_name("other"), Decoder()
    other.write_bytes(b"1")
    store = PixelStore([source, other, source], SHAPE, decoder, limit=60)
    for path in (source, source, other, other):
        assert store.get(path)[0, 0, 0] == path.stat().st_size
    assert decoder.calls == 3


def test_a_child_process_fills_memory_for_its_parent() -> None:
    slots = SharedSlots(2, (3,), np.float64)
    child = os.fork()
    if child == 0:
        slots.put(1, np.array([1.0, 2.0, 3.0]))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert slots.get(0) is None
    found = slots.get(1)
    assert found is not None
    assert found.tolist() == [1, 2, 3]
    assert not found.flags.writeable


def test_a_pickled_store_works_and_starts_empty(source: Path) -> None:
    store = PixelStore([source], SHAPE, Decoder())
    store.get(source)
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.get(source), store.get(source))


def test_the_folder_is_read_by_the_next_run_without_decoding(source: Path, hostile_dir: Path) -> None:
    decoder = Decoder()
    first = fresh(hostile_dir).get(source, decoder)
    second = fresh(hostile_dir).get(source, decoder)
    np.testing.assert_array_equal(first, second)
    assert decoder.calls == 1
    assert not second.flags.writeable


def test_a_changed_source_is_decoded_again(source: Path, hostile_dir: Path) -> None:
    decoder = Decoder()
    fresh(hostile_dir).get(source, decoder)
    source.write_bytes(b"1234567")
    assert fresh(hostile_dir).get(source, decoder)[0, 0, 0] == 7
    assert decoder.calls == 2


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "magic"])
def test_a_damaged_entry_is_rebuilt(source: Path, hostile_dir: Path, damage: str) -> None:
    decoder = Decoder()
    cache = fresh(hostile_dir)
    expected = cache.get(source, decoder).copy()
    place = cache.place(source)
    content = place.read_bytes()
    changed = {
        "flipped": bytes([content[0] ^ 1]) + content[1:],
        "short": content[:-1],
        "empty": b"",
        "magic": content[:-1] + b"?",
    }[damage]
    # As a crash leaves it: a new file in the place of the old one.
    place.unlink()
    place.write_bytes(changed)
    np.testing.assert_array_equal(fresh(hostile_dir).get(source, decoder), expected)
    np.testing.assert_array_equal(fresh(hostile_dir).get(source, decoder), expected)
    assert decoder.calls == 2
    assert place.read_bytes() == content


def test_two_runs_may_fill_the_same_folder_at_once(hostile_dir: Path) -> None:
    sources = [hostile_dir / f"{index}" for index in range(20)]
    for index, path in enumerate(sources):
        path.write_bytes(b"x" * index)
    failed: list[int] = []

    def fill() -> None:
        cache, decoder = fresh(hostile_dir), Decoder()
        failed.extend(i for i, path in enumerate(sources) if cache.get(path, decoder)[0, 0, 0] != i)

    runs = [threading.Thread(target=fill) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert failed == []
    assert not [path for path in (hostile_dir / "cache").rglob("*") if path.suffix == ".part"]


def test_a_folder_that_can_not_be_made_is_named(source: Path) -> None:
    with pytest.raises(DataInvalidError, match="cache_dir"):
        DiskCache(source / "below a file", SHAPE, "rgb")
