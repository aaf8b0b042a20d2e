"""Artefacts are kept whole or not at all, and nothing from outside gets out of its folder."""

import errno
import hashlib
import os
import stat
import struct
import threading
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noodle_upgrade_core.errors import (
    ArtifactDamagedError,
    ArtifactDigestError,
    ArtifactTooLargeError,
    ArtifactUnavailableError,
    InvalidRequestError,
    JournalFullError,
)
from noodle_upgrade_core.store import ContentStore

from .wheels import make_wheel, record

GONE = "0" * 64


def sha(data):
    return hashlib.sha256(data).hexdigest()


def everything(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() or p.is_symlink())


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


def raw_zip(path, entries):
    """A zip whose entries are (name or ZipInfo, data), with no checks of any kind."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return path


def info(name, *, mode=0, system=3):
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    made.create_system = system
    return made


# --- hostile archives ------------------------------------------------------------------------------------------------


RECORD = ("x-1.dist-info/RECORD", b"x-1.dist-info/RECORD,,\n")


@pytest.mark.parametrize(
    "entries",
    [
        [("/etc/passwd", b"")],
        [("../outside.py", b"")],
        [("a/../../outside.py", b"")],
        [("a/./b.py", b"")],
        [("a//b.py", b"")],
        [("C:/windows.py", b"")],
        [("a\\..\\b.py", b"")],
        [("a\nb.py", b"")],
        [("a\x01.py", b"")],
        [("x" * 256, b"")],
        [("/".join(["x" * 100] * 11), b"")],
        [("a.py", b""), ("A.py", b"")],
        [("a.py", b""), ("a.py", b"")],
        [("pkg/a.py", b""), ("PKG/b.py", b"")],
        [("caf\u00e9.py", b""), ("cafe\u0301.py", b"")],
        [("a", b""), ("a/b.py", b"")],
        [("x-1.data/purelib/a.py", b""), ("a.py", b"")],
        [("x-1.data/purelib/../a.py", b"")],
        [(info("link.py", mode=stat.S_IFLNK | 0o777), b"/etc/passwd")],
        [(info("pipe", mode=stat.S_IFIFO | 0o600), b"")],
        [(info("device", mode=stat.S_IFCHR | 0o600), b"")],
        [("../", b"")],
    ],
    ids=lambda entries: repr(getattr(entries[0][0], "filename", entries[0][0]))[:30],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_a_hostile_name_is_refused_and_nothing_is_unpacked(store, tmp_path, entries):
    # All else about it is right: its record names every file, with its hash.
    names = [getattr(entry, "filename", entry) for entry, _ in entries]
    files = {name: data for name, (_, data) in zip(names, entries, strict=True) if not name.endswith("/")}
    own = "x-1.dist-info/RECORD"
    digest = store.put_file(raw_zip(tmp_path / "w.zip", [*entries, (own, record(files, own))]))
    before = everything(tmp_path)
    with pytest.raises(ArtifactDamagedError):
        store.unpack_wheel(digest)
    assert everything(tmp_path) == before
    assert not store.tree(digest).exists()


def test_an_encrypted_archive_is_refused(store, tmp_path):
    path = raw_zip(tmp_path / "w.zip", [("a.py", b"x = 1"), RECORD])
    data = bytearray(path.read_bytes())
    # The flag in the local header and in the central directory.
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(mark)
        struct.pack_into("<H", data, at + offset, 1)
    with pytest.raises(ArtifactDamagedError, match="encrypted"):
        store.unpack_wheel(store.put_bytes(bytes(data)))


def test_a_bomb_is_refused_by_what_it_declares_before_it_is_unpacked(tmp_path):
    store = ContentStore(tmp_path / "store", max_unpacked_bytes=1_000_000)
    path = raw_zip(tmp_path / "bomb.zip", [("a.py", b"\0" * 2_000_000), RECORD])
    with pytest.raises(ArtifactTooLargeError, match="2000"):
        store.unpack_wheel(store.put_file(path))


def test_a_bomb_that_lies_about_its_size_is_stopped_at_the_lie(tmp_path):
    store = ContentStore(tmp_path / "store", max_unpacked_bytes=1_000_000)
    path = raw_zip(tmp_path / "bomb.zip", [("a.py", b"\0" * 5_000_000), RECORD])
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.find(b"PK\1\2") + 24, 10)
    struct.pack_into("<L", data, data.find(b"PK\3\4") + 22, 10)
    with pytest.raises(ArtifactDamagedError):
        store.unpack_wheel(store.put_bytes(bytes(data)))
    assert not list((store.root / "tmp").iterdir())


def test_an_archive_of_too_many_files_is_refused(tmp_path):
    store = ContentStore(tmp_path / "store", max_files=10)
    path = raw_zip(tmp_path / "many.zip", [(f"f{i}.py", b"") for i in range(11)])
    with pytest.raises(ArtifactTooLargeError, match="11 files"):
        store.unpack_wheel(store.put_file(path))


def test_a_directory_of_very_many_entries_is_refused_before_it_is_read(tmp_path):
    store = ContentStore(tmp_path / "store", max_files=1)
    path = raw_zip(tmp_path / "many.zip", [(f"f{i}.py", b"") for i in range(20)])
    with pytest.raises(ArtifactTooLargeError, match="directory"):
        store.unpack_wheel(store.put_file(path))


def test_more_bytes_than_allowed_are_not_stored(tmp_path):
    store = ContentStore(tmp_path / "store", max_bytes=10)
    with pytest.raises(ArtifactTooLargeError):
        store.put_bytes(b"x" * 11)
    big = tmp_path / "big"
    big.write_bytes(b"x" * 11)
    with pytest.raises(ArtifactTooLargeError):
        store.put_file(big)
    assert everything(store.root) == []


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_wheel_with_any_one_byte_changed_is_refused_or_unpacks_to_the_same_files(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("wheel")
    path = make_wheel(folder, "pkg", "1.0", {"pkg/__init__.py": "x = 1\n", "pkg/data.bin": bytes(range(256))})
    good = ContentStore(folder / "good")
    expected = {p.name: p.read_bytes() for p in good.unpack_wheel(good.put_file(path)).rglob("*") if p.is_file()}
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    store = ContentStore(folder / "store")
    digest = store.put_bytes(bytes(content))
    try:
        tree = store.unpack_wheel(digest)
    except (ArtifactDamagedError, ArtifactTooLargeError):
        assert not list((store.root / "tmp").iterdir())
        assert not store.tree(digest).exists()
    else:
        assert {p.name: p.read_bytes() for p in tree.rglob("*") if p.is_file()} == expected


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_unpacking_raise_anything_but_a_refusal(tmp_path_factory, data):
    store = ContentStore(tmp_path_factory.mktemp("store"))
    with pytest.raises((ArtifactDamagedError, ArtifactTooLargeError)):
        store.unpack_wheel(store.put_bytes(data))


@pytest.mark.parametrize("cut", [1, 10, 22, 60])
def test_a_truncated_wheel_is_refused(store, tmp_path, cut):
    path = make_wheel(tmp_path, "pkg", "1.0", {"pkg.py": "x = 1\n"})
    with pytest.raises(ArtifactDamagedError):
        store.unpack_wheel(store.put_bytes(path.read_bytes()[:-cut]))


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.update({"pkg.py": b"x = 2\n"}),
        lambda files: files.update({"more.py": b""}),
        lambda files: files.pop("pkg.py"),
        lambda files: files.pop("pkg-1.0.dist-info/RECORD"),
        lambda files: files.update({"pkg-1.0.dist-info/RECORD": b"\xff\xfe"}),
        lambda files: files.update({"pkg-1.0.dist-info/RECORD": b"pkg.py,md5=aaaa,6\n"}),
        lambda files: files.update({"pkg-1.0.dist-info/RECORD": b"pkg.py,sha256=!!!,six\n"}),
        lambda files: files.update({"pkg-1.0.dist-info/RECORD": b"pkg.py,,\npkg-1.0.dist-info/RECORD,,\n"}),
    ],
    ids=["changed", "more", "less", "no record", "record not text", "md5", "no number", "no hash"],
)
def test_a_wheel_that_is_not_as_its_record_says_is_refused(store, tmp_path, change):
    path = make_wheel(tmp_path, "pkg", "1.0", {"pkg.py": "x = 1\n"})
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    digest = store.put_file(raw_zip(tmp_path / "changed.whl", files.items()))
    with pytest.raises(ArtifactDamagedError):
        store.unpack_wheel(digest)
    assert not store.tree(digest).exists()


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_another_digest_than_expected_is_refused_and_nothing_is_kept(store):
    with pytest.raises(ArtifactDigestError) as caught:
        store.put_bytes(b"hello", expected=GONE)
    assert caught.value.details == {"expected": GONE, "found": sha(b"hello")}
    assert everything(store.root) == []


def test_bytes_that_changed_on_the_disk_are_not_given_out(store):
    digest = store.put_bytes(b"hello")
    store.blob(digest).write_bytes(b"hellO")
    for read in (store.read, store.open, store.verify, store.unpack_wheel):
        with pytest.raises(ArtifactDigestError):
            read(digest)


def test_putting_the_same_bytes_in_again_mends_them(store):
    digest = store.put_bytes(b"hello")
    store.blob(digest).write_bytes(b"hellO")
    assert store.put_bytes(b"hello") == digest
    assert store.read(digest) == b"hello"


@pytest.mark.parametrize("digest", ["", "abc", "../" + "0" * 61, "A" * 64, "0" * 63 + "\n", "0" * 65])
def test_what_is_no_digest_is_refused_and_never_a_path(store, digest):
    for method in (store.read, store.open, store.verify, store.discard, store.has, store.unpack_wheel, store.tree):
        with pytest.raises(InvalidRequestError):
            method(digest)


def test_what_is_not_there_is_unavailable(store, tmp_path):
    for read in (store.read, store.open, store.verify, store.unpack_wheel, store.size):
        with pytest.raises(ArtifactUnavailableError):
            read(GONE)
    assert not store.has(GONE)
    assert store.discard(GONE) == 0
    with pytest.raises(ArtifactUnavailableError):
        store.put_file(tmp_path / "nothing")


def test_a_pipe_or_a_folder_is_no_artefact_and_does_not_block(store, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(ArtifactUnavailableError):
            store.put_file(place)


def test_only_the_owner_can_read_the_store(store, tmp_path):
    digest = store.put_file(make_wheel(tmp_path, "pkg", "1.0", {"pkg/__init__.py": ""}))
    store.unpack_wheel(digest)
    for place in (store.root, *store.root.rglob("*")):
        assert stat.S_IMODE(place.stat().st_mode) == (0o700 if place.is_dir() else 0o600), place


def test_what_is_put_in_comes_out(store, tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    digest = store.put_file(tmp_path / "file", expected=sha(data))
    assert digest == sha(data)
    assert store.size(digest) == len(data)
    with store.open(digest) as file:
        assert file.read() == data
    assert store.digests() == {digest}


# --- trees -----------------------------------------------------------------------------------------------------------


def test_a_wheel_unpacks_where_an_installer_would_put_its_files(store, tmp_path):
    path = make_wheel(
        tmp_path,
        "pkg",
        "1.0",
        {"pkg/__init__.py": "", "pkg-1.0.data/purelib/other.py": "y = 1\n", "pkg-1.0.data/scripts/tool": "#!python\n"},
    )
    digest = store.put_file(path)
    tree = store.unpack_wheel(digest)
    assert tree == store.root / "trees" / digest
    assert (tree / "other.py").read_text() == "y = 1\n"
    assert (tree / "pkg-1.0.data/scripts/tool").is_file()
    assert (tree / "pkg-1.0.dist-info/METADATA").is_file()
    store.verify(digest)


def test_a_file_that_changed_in_a_tree_is_found_and_bytecode_is_not_one(store, tmp_path):
    digest = store.put_file(make_wheel(tmp_path, "pkg", "1.0", {"pkg/__init__.py": "x = 1\n"}))
    tree = store.unpack_wheel(digest)
    (tree / "pkg/__pycache__").mkdir()
    (tree / "pkg/__pycache__/x.pyc").write_bytes(b"")
    store.verify(digest)
    (tree / "pkg/__init__.py").write_text("x = 2\n")
    with pytest.raises(ArtifactDamagedError, match="changed"):
        store.verify(digest)


@pytest.mark.parametrize("damage", ["more", "less", "link", "longer"])
def test_a_tree_that_is_not_as_its_manifest_says_is_found_and_mended_by_putting_it_in_again(store, tmp_path, damage):
    (tmp_path / "a.py").write_text("a = 1\n")
    files = {"pkg/a.py": tmp_path / "a.py", "pkg/b.py": tmp_path / "a.py"}
    digest = store.put_tree(files)
    place = store.tree(digest) / "pkg"
    if damage == "more":
        (place / "c.py").write_text("")
    elif damage == "less":
        (place / "a.py").unlink()
    elif damage == "link":
        (place / "a.py").unlink()
        (place / "a.py").symlink_to(tmp_path / "a.py")
    else:
        (place / "a.py").write_text("a = 1\n# more\n")
    with pytest.raises(ArtifactDamagedError):
        store.verify(digest)
    assert store.put_tree(files) == digest
    store.verify(digest)


def test_a_tree_has_the_digest_of_its_names_and_contents_alone(store, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    digest = store.put_tree({"a/x.py": one, "b.py": two})
    assert store.put_tree({"b.py": two, "a/x.py": one}) == digest
    os.utime(one, (0, 0))
    one.chmod(0o777)
    assert store.put_tree({"a/x.py": one, "b.py": two}) == digest
    assert store.put_tree({"a/x.py": two, "b.py": one}) != digest
    assert sha(store.read(digest)) == digest


def test_a_tree_whose_files_are_gone_does_not_verify(store, tmp_path):
    (tmp_path / "a").write_text("1")
    digest = store.put_tree({"a.py": tmp_path / "a"})
    (store.tree(digest) / "a.py").unlink()
    store.tree(digest).rmdir()
    with pytest.raises(ArtifactUnavailableError):
        store.verify(digest)


@pytest.mark.parametrize("name", ["/abs.py", "../up.py", "a\\b.py", "", "a//b", "A.py"])
def test_a_tree_takes_no_hostile_names_either(store, tmp_path, name):
    (tmp_path / "a").write_text("")
    with pytest.raises(ArtifactDamagedError):
        store.put_tree({"a.py": tmp_path / "a", name: tmp_path / "a"})


def test_a_tree_over_the_limits_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 60)
    store = ContentStore(tmp_path / "store", max_unpacked_bytes=100, max_files=2)
    with pytest.raises(ArtifactTooLargeError):
        store.put_tree({"a": tmp_path / "a", "b": tmp_path / "a"})
    with pytest.raises(ArtifactTooLargeError):
        store.put_tree(dict.fromkeys("abc", tmp_path / "a"))
    assert store.digests() == frozenset()


def test_many_threads_may_put_in_and_unpack_the_same_wheel_at_once(store, tmp_path):
    path = make_wheel(tmp_path, "pkg", "1.0", {f"pkg/m{i}.py": f"x = {i}\n" for i in range(20)})
    failures = []
    barrier = threading.Barrier(6)

    def work():
        try:
            barrier.wait()
            store.unpack_wheel(store.put_file(path))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    store.verify(sha(path.read_bytes()))
    assert not list((store.root / "tmp").iterdir())


# --- throwing away -----------------------------------------------------------------------------------------------


def test_what_is_discarded_is_gone_with_its_tree(store, tmp_path):
    digest = store.put_file(make_wheel(tmp_path, "pkg", "1.0", {"pkg.py": ""}))
    store.unpack_wheel(digest)
    assert store.discard(digest) > 0
    assert everything(store.root) == []


def test_a_collection_keeps_what_is_named_what_is_new_and_clears_leftovers(store, tmp_path):
    keep = store.put_file(make_wheel(tmp_path, "pkg", "1.0", {"pkg.py": ""}))
    store.unpack_wheel(keep)
    drop = store.put_file(make_wheel(tmp_path, "pkg", "2.0", {"pkg.py": ""}))
    store.unpack_wheel(drop)
    (store.root / "tmp" / "left").mkdir()
    (store.root / "tmp" / "left" / "file").write_text("")
    (store.root / "tmp" / "half").write_text("")
    assert store.collect({keep}).blobs == ()
    assert store.digests() == {keep, drop}
    collected = store.collect({keep}, min_age=-1.0)
    assert (collected.blobs, collected.trees, collected.leftovers) == ((drop,), (drop,), 2)
    assert collected.size > 0
    assert store.digests() == {keep}
    store.verify(keep)
    assert not list((store.root / "tmp").iterdir())


def test_putting_a_wheel_in_again_keeps_its_old_tree_from_being_collected(store, tmp_path):
    path = make_wheel(tmp_path, "pkg", "1.0", {"pkg.py": ""})
    digest = store.put_file(path)
    tree = store.unpack_wheel(digest)
    for place in (tree, store.blob(digest)):
        os.utime(place, (0, 0))
    store.put_file(path)
    assert store.collect(set()).trees == ()
    assert tree.is_dir()


def test_collecting_an_empty_store_is_nothing(store):
    assert store.collect(set()).size == 0
    assert store.digests() == frozenset()


# --- the disk fails --------------------------------------------------------------------------------------------------


def operations(root, act):
    seen = []
    act(ContentStore(root, faults=seen.append))
    return seen


def put_wheel(path):
    def act(store):
        store.unpack_wheel(store.put_file(path))

    return act


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_operation_leaves_nothing_behind_and_works_again_afterwards(tmp_path, number):
    path = make_wheel(tmp_path, "pkg", "1.0", {"pkg/__init__.py": "", "pkg/a.py": "a = 1\n"})
    act = put_wheel(path)
    count = len(operations(tmp_path / "all", act))
    assert count > 10
    for failing in range(count):
        seen = []

        def faults(operation, seen=seen, failing=failing):
            seen.append(operation)
            if len(seen) == failing + 1:
                raise OSError(number, os.strerror(number))

        root = tmp_path / f"at{failing}"
        expected = JournalFullError if number == errno.ENOSPC else ArtifactUnavailableError
        with pytest.raises(expected):
            act(ContentStore(root, faults=faults))
        tmp = root / "tmp"
        assert not tmp.exists() or not list(tmp.iterdir())
        store = ContentStore(root)
        act(store)
        for digest in store.digests():
            store.verify(digest)
