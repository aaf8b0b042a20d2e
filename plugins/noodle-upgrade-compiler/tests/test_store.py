"""The content store: bounded, shared, made anew where it cannot be read."""

import threading

from noodle_upgrade_compiler.store import Output, Store


def test_memory_holds_what_was_used_last():
    store = Store(entries=1)
    for number in range(10):
        store.keep_output(bytes([number]), Output(b"d"))
    assert store.output(b"\x00") is None
    assert store.output(b"\x09") == Output(b"d")


def test_the_file_forgets_the_bodies_that_were_not_used_for_longest(tmp_path):
    store = Store(tmp_path / "o.db", max_bytes=10_000)
    for number in range(20):
        store.keep_body(bytes([number]), b"x" * 1000)
        store.body(b"\x00")
    kept = [number for number in range(20) if store.has_body(bytes([number]))]
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
    store.keep_body(b"d", b"x")
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
    assert (tmp_path / "cache" / "o.db").stat().st_mode & 0o077 == 0


def test_threads_and_other_stores_share_a_file(tmp_path):
    stores = [Store(tmp_path / "o.db"), Store(tmp_path / "o.db")]

    def fill(store, start):
        for number in range(start, start + 100):
            with store.batch():
                store.keep_output(f"k{number}".encode(), Output(f"d{number}".encode()))
                store.keep_body(f"d{number}".encode(), b"body")

    threads = [threading.Thread(target=fill, args=(stores[i % 2], 100 * i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = Store(tmp_path / "o.db")
    assert all(fresh.output(f"k{n}".encode()) == Output(f"d{n}".encode()) for n in range(400))
    assert all(fresh.body(f"d{n}".encode()) == b"body" for n in range(400))
