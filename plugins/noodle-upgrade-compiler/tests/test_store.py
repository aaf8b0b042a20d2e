"""The content store: bounded, shared, made anew where it cannot be read."""

import contextlib
import random
import sqlite3
import threading

import pytest

from noodle_upgrade_compiler.artifacts import digest_of
from noodle_upgrade_compiler.store import Output, SourceFile, Store


def test_memory_holds_what_was_used_last():
    store = Store(entries=1)
    for number in range(10):
        store.keep_output(bytes([number]), Output(b"d"))
    assert store.output(b"\x00") is None
    assert store.output(b"\x09") == Output(b"d")


def test_the_file_forgets_the_bodies_that_were_not_used_for_longest(tmp_path):
    store = Store(tmp_path / "o.db", max_bytes=10_000)
    bodies = [bytes([number]) * 1000 for number in range(20)]
    for body in bodies:
        store.keep_body(digest_of(body), body)
        store.body(digest_of(bodies[0]))
    kept = [number for number, body in enumerate(bodies) if store.has_body(digest_of(body))]
    assert 0 in kept
    assert 19 in kept
    assert len(kept) <= 10


def test_a_file_that_is_damaged_or_of_another_format_is_made_anew(tmp_path):
    path = tmp_path / "o.db"
    for content in (b"this is no database at all" * 100, b""):
        path.write_bytes(content)
        store = Store(path)
        store.keep_output(b"k", Output(b"d", (("error", "c", "m", 1, 2, "h"),)))
        store.close()
        again = Store(path)
        assert again.output(b"k") == Output(b"d", (("error", "c", "m", 1, 2, "h"),))
        again.close()


def test_it_is_for_its_owner_only(tmp_path):
    store = Store(tmp_path / "cache" / "o.db")
    store.keep_body(digest_of(b"x"), b"x")
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
    assert (tmp_path / "cache" / "o.db").stat().st_mode & 0o077 == 0


def test_threads_and_other_stores_share_a_file(tmp_path):
    stores = [Store(tmp_path / "o.db"), Store(tmp_path / "o.db")]

    def fill(store, start):
        for number in range(start, start + 100):
            with store.batch():
                store.keep_output(f"k{number}".encode(), Output(f"d{number}".encode()))
                store.keep_body(digest_of(b"%d" % number), b"%d" % number)

    threads = [threading.Thread(target=fill, args=(stores[i % 2], 100 * i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = Store(tmp_path / "o.db")
    assert all(fresh.output(f"k{n}".encode()) == Output(f"d{n}".encode()) for n in range(400))
    assert all(fresh.body(digest_of(b"%d" % n)) == b"%d" % n for n in range(400))


def filled(path):
    store = Store(path)
    with store.batch():
        for number in range(300):
            body = b"%d " % number * 50
            store.keep_output(b"k%d" % number, Output(digest_of(body), (("error", "c", "m", 1, 2, "h"),), ("a", "b")))
            store.keep_body(digest_of(body), body)
        store.keep_files([SourceFile(f"f{n}", "s", b"d", "python=1", "a b", "let", "x", "") for n in range(300)])
    store.close()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_damaged_in_it_it_gives_nothing_that_is_not_as_it_was(tmp_path, seed):
    path = tmp_path / "o.db"
    filled(path)
    data, chance = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(200):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    store = Store(path)
    store.files()
    for number in range(300):
        body = b"%d " % number * 50
        assert store.body(digest_of(body)) in (None, body)
        found = store.output(b"k%d" % number)
        assert found is None or found.problems[0][0] in ("error", "warning")
    store.keep_body(digest_of(b"new"), b"new")
    store.keep_files([SourceFile("new", "s", b"d", "python=1", "", "let", "x", "")])
    assert store.body(digest_of(b"new")) in (None, b"new")
    store.close()


def test_a_build_over_a_damaged_file_makes_what_it_would_make_without_it(tmp_path, phases):
    from noodle_upgrade_compiler.building import build

    source = tmp_path / "src" / "a.noodle"
    source.parent.mkdir()
    path = tmp_path / "o.db"
    for seed in range(10):
        source.write_text("print(1);\n" * 50)
        store = Store(path)
        assert build([source.parent], phases, store).success
        store.close()
        data, chance = bytearray(path.read_bytes()), random.Random(seed)
        for _ in range(100):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        store = Store(path)
        assert build([source.parent], phases, store, by="content").success
        store.close()


def test_code_that_was_changed_in_the_file_is_not_there(tmp_path):
    store = Store(tmp_path / "o.db")
    store.keep_body(digest_of(b"total is"), b"total is")
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "o.db")) as file:
        file.execute("UPDATE bodies SET data = ?", (b"TOTAL IS",))
        file.commit()
    again = Store(tmp_path / "o.db")
    assert again.body(digest_of(b"total is")) is None
    assert not again.has_body(digest_of(b"total is"))
    again.close()


def test_a_file_that_cannot_be_used_costs_nothing_but_time(tmp_path):
    (tmp_path / "place").write_text("a file, where the folder should be")
    store = Store(tmp_path / "place" / "o.db")
    store.keep_output(b"k", Output(b"d"))
    store.keep_files([SourceFile("f", "s", b"d", "", "", "", "", "")])
    assert store.files() == {}
    assert store.output(b"k") == Output(b"d")
    assert "cannot be used" in store.failure
    store.close()
