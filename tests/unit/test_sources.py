import errno
import json
import subprocess
import sys
import threading

import pytest

from noodle_upgrade_core import versions
from noodle_upgrade_core.errors import (
    ArtifactDamagedError,
    ArtifactDigestError,
    ArtifactIncompatibleError,
    ArtifactTooLargeError,
    ArtifactUnavailableError,
    InvalidRequestError,
    JournalFullError,
    VersionInvalidError,
    VersionUnknownError,
)
from noodle_upgrade_core.model import ArtifactRef, ComponentDescriptor
from noodle_upgrade_core.sources import DirectorySource, InstalledSource, Source, Sources, WheelSource
from noodle_upgrade_core.store import ContentStore
from noodle_upgrade_core.wire import from_wire, to_wire
from tests.unit.wheels import make_wheel, metadata, record

CODE = {"acme/__init__.py": "def shout(x):\n    return x.upper()\n"}


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


@pytest.fixture
def wheels(tmp_path):
    (tmp_path / "wheels").mkdir()
    return tmp_path / "wheels"


@pytest.fixture
def registry_path(tmp_path):
    (tmp_path / "components").mkdir()
    return tmp_path / "components"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on `sys.path`, as site-packages is."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def offline(wheels, monkeypatch):
    """Real pip, whose only index is the folder `wheels`."""
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(wheels), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)


def component(name="acme", version="0.9", **fields):
    return ComponentDescriptor(name=name, version=version, **fields)


def put(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def install(site, name="acme", version="1.0", files=None, notes=None):
    """Put a distribution there as an installer would; `notes` go to its metadata."""
    contents = {path: text.encode() for path, text in (CODE if files is None else files).items()}
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    contents |= {f"{info}/{path}": text.encode() for path, text in (notes or {}).items()}
    contents[f"{info}/METADATA"] = metadata(name, version, requires=["mdurl"], requires_python=">=3.8").encode()
    contents[f"{info}/RECORD"] = record(contents, f"{info}/RECORD")
    for path, data in contents.items():
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return site / info


def tree_of(store, artifact):
    folder = store.root / artifact.tree
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def nothing_is_stored(store):
    return not store.digests() and not list(store.root.glob("tmp/*"))


# --- wheels --------------------------------------------------------------------------------------------------------


def test_a_damaged_wheel_is_refused_and_nothing_is_stored(store, wheels):
    make_wheel(wheels, "acme", "1.0", CODE, change=lambda files: files.update({"acme/__init__.py": b"evil()"}))
    source = WheelSource(store=store, locations=[wheels], index=False)
    with pytest.raises(ArtifactDamagedError):
        source.fetch(component(), "1.0")
    assert nothing_is_stored(store)


def test_a_bomb_is_refused_and_nothing_is_stored(tmp_path, wheels):
    store = ContentStore(tmp_path / "small", max_unpacked_bytes=1 << 20)
    make_wheel(wheels, "acme", "1.0", {**CODE, "acme/zeros": "0" * (8 << 20)})
    with pytest.raises(ArtifactTooLargeError):
        WheelSource(store=store, locations=[wheels], index=False).fetch(component(), "1.0")
    assert nothing_is_stored(store)


def test_a_disk_that_fails_while_a_wheel_is_unpacked_leaves_nothing_behind(tmp_path, wheels):
    def full(operation):
        if operation == "rename tree":
            raise OSError(errno.ENOSPC, "No space left on device")

    store = ContentStore(tmp_path / "full", faults=full)
    make_wheel(wheels, "acme", "1.0", CODE)
    with pytest.raises(JournalFullError):
        WheelSource(store=store, locations=[wheels], index=False).fetch(component(), "1.0")
    assert nothing_is_stored(store)


def test_a_wheel_that_changes_between_its_check_and_its_storing_is_refused(store, wheels, monkeypatch):
    path = make_wheel(wheels, "acme", "1.0", CODE)
    real = store.put_file

    def changed_meanwhile(place, *, expected=""):
        make_wheel(wheels, "acme", "1.0", {"acme/__init__.py": "evil()"})
        return real(place, expected=expected)

    monkeypatch.setattr(store, "put_file", changed_meanwhile)
    with pytest.raises(ArtifactDigestError):
        WheelSource(store=store, index=False).fetch(component(), str(path))
    assert nothing_is_stored(store)


def test_a_wheel_for_another_platform_is_refused_by_its_version(store, wheels):
    make_wheel(wheels, "acme", "1.0", CODE, tag="cp27-cp27m-win32")
    source = WheelSource(store=store, locations=[wheels], index=False)
    assert source.versions(component()) == ()
    with pytest.raises(ArtifactIncompatibleError, match="win32"):
        source.fetch(component(), "1.0")


def test_a_wheel_of_another_component_is_refused(store, wheels):
    path = make_wheel(wheels, "other", "1.0", CODE)
    source = WheelSource(store=store, index=False)
    for ask in (source.resolve, source.fetch):
        with pytest.raises(InvalidRequestError, match="a wheel of other, not of acme"):
            ask(component(), str(path))
    assert nothing_is_stored(store)


def test_a_path_to_no_file_is_unavailable(store, tmp_path):
    for target in ("acme-1.0-py3-none-any.whl", "https://example.org/acme-1.0-py3-none-any.whl"):
        with pytest.raises(ArtifactUnavailableError, match="there is no wheel"):
            WheelSource(store=store, index=False).fetch(component(), target)


def test_a_wheel_is_stored_unpacked_and_described(store, wheels):
    files = {**CODE, "acme/_fast.abi3.so": "ELF", "more/thing.py": ""}
    path = make_wheel(wheels, "Acme", "1.0", files, requires=["mdurl~=0.1"], requires_python=">=3.8")
    found = WheelSource(store=store, locations=[wheels], index=False).fetch(component(), "1.0.0")
    assert (found.name, found.version, found.kind, found.size) == ("acme", "1.0", "wheel", path.stat().st_size)
    assert found.top_levels == ("acme", "more")
    assert found.extension_modules == ("acme/_fast.abi3.so",)
    assert found.requirements == ("mdurl~=0.1",)
    assert found.metadata["namespaces"] == ["more"]
    assert tree_of(store, found)["acme/__init__.py"] == CODE["acme/__init__.py"]
    store.verify(found.digest)
    assert from_wire(ArtifactRef, to_wire(found)) == found


def test_versions_come_from_files_and_folders_whatever_else_lies_there(store, wheels, tmp_path):
    for version in ("1.10", "1.9", "2.0rc1"):
        make_wheel(wheels, "acme", version, CODE)
    single = make_wheel(tmp_path, "acme", "3.0", CODE)
    make_wheel(wheels, "acme-extra", "9.0", CODE)
    put(wheels, {"acme-broken.whl": "", "acme-x-py3-none-any.whl": "", "notes.txt": "", "acme-8.0.tar.gz": ""})
    source = WheelSource(store=store, locations=[wheels, single], index=False)
    assert source.versions(component()) == ("1.9", "1.10", "2.0rc1", "3.0")
    assert source.versions(component("nobody")) == ()
    assert source.fetch(component(), "7.0") is None


def test_of_several_wheels_of_one_version_the_newest_build_is_taken(store, wheels):
    make_wheel(wheels, "acme", "1.0", CODE)
    make_wheel(wheels, "acme", "1.0", CODE, build="2")
    make_wheel(wheels, "acme", "1.0", CODE, build="10")
    found = WheelSource(store=store, locations=[wheels], index=False).fetch(component(), "1.0")
    assert found.metadata["file"] == "acme-1.0-10-py3-none-any.whl"


def test_a_bare_file_name_is_found_in_the_folders_of_wheels(store, wheels):
    make_wheel(wheels, "acme", "1.0", CODE)
    source = WheelSource(store=store, locations=[wheels], index=False)
    assert source.fetch(component(), "acme-1.0-py3-none-any.whl").version == "1.0"


def test_a_location_that_does_not_exist_is_said_where_nothing_was_found(store, tmp_path):
    sources = Sources((WheelSource(store=store, locations=[tmp_path / "typo"], index=False),))
    with pytest.raises(VersionUnknownError, match="typo does not exist"):
        sources.fetch(component(), "1.0")


def test_a_component_of_another_name_than_its_distribution_is_found(store, wheels):
    make_wheel(wheels, "acme-text", "1.0", CODE)
    told = component("shouting", metadata={"distribution": "Acme.Text"})
    found = WheelSource(store=store, locations=[wheels], index=False).fetch(told, "1.0")
    assert (found.name, found.metadata["distribution"]) == ("shouting", "acme-text")


def test_the_index_is_never_asked_for_what_is_not_installed_here(store, wheels, offline):
    make_wheel(wheels, "acme", "1.0", CODE)
    source = WheelSource(store=store)
    assert source.fetch(component(), "1.0") is None
    assert source.confirm(component(), "1.0") is False


def test_the_index_delivers_what_is_installed_here_and_is_asked_once(store, wheels, site, offline):
    install(site, version="0.9")
    path = make_wheel(wheels, "acme", "1.0", CODE)
    source = WheelSource(store=store)
    assert source.confirm(component(), "1.0") is True
    first = source.fetch(component(), "1.0")
    assert first.source == "index:acme==1.0"
    path.unlink()
    assert source.fetch(component(), "1.0") == first


def test_what_was_damaged_in_the_store_is_fetched_anew(store, wheels, site, offline):
    install(site, version="0.9")
    make_wheel(wheels, "acme", "1.0", CODE)
    source = WheelSource(store=store)
    first = source.fetch(component(), "1.0")
    store.discard(first.digest)
    assert source.fetch(component(), "1.0") == first
    store.verify(first.digest)


# --- folders -------------------------------------------------------------------------------------------------------


def test_a_folder_is_stored_as_a_tree(store, registry_path):
    put(registry_path / "Ac_me" / "1.0", {"ac_me/__init__.py": "x = 1\n", "ac_me/__pycache__/x.pyc": "", "m.py": ""})
    source = DirectorySource(store=store, registry_path=registry_path)
    found = source.fetch(component("ac-me"), "1.0.0")
    assert (found.name, found.version, found.kind, found.top_levels) == ("ac-me", "1.0", "tree", ("ac_me", "m"))
    assert tree_of(store, found) == {"ac_me/__init__.py": "x = 1\n", "m.py": ""}
    assert found.size == len("x = 1\n")
    assert from_wire(ArtifactRef, to_wire(found)) == found


def test_a_single_module_gets_the_name_that_it_is_imported_by(store, registry_path):
    put(registry_path / "pricing", {"1.0.py": "__version__ = '1.0'\n__dependencies__ = ['acme>=2']\n"})
    source = DirectorySource(store=store, registry_path=registry_path)
    found = source.fetch(component("pricing", entry_point="shop.pricing:Pricing"), "1.0")
    assert list(tree_of(store, found)) == ["shop/pricing.py"]
    assert found.metadata["import_names"] == ["shop.pricing"]
    assert found.requirements == ("acme>=2",)
    assert list(tree_of(store, source.fetch(component("pricing"), "1.0"))) == ["pricing.py"]


def test_a_folder_that_is_itself_a_package_is_put_under_its_name(store, registry_path):
    put(registry_path / "acme" / "1.0", {"__init__.py": "", "text.py": "", "component.toml": ""})
    found = DirectorySource(store=store, registry_path=registry_path).fetch(component(), "1.0")
    assert sorted(tree_of(store, found)) == ["acme/__init__.py", "acme/text.py", "component.toml"]


def test_versions_are_listed_by_age_and_other_folders_are_passed_over(store, registry_path):
    put(registry_path / "acme", {"1.10/m.py": "", "1.9/m.py": "", "drafts/m.py": "", "2.0.py": "", "notes.txt": ""})
    put(registry_path / ".git", {"1.0/m.py": ""})
    source = DirectorySource(store=store, registry_path=registry_path)
    assert source.versions(component()) == ("1.9", "1.10", "2.0")
    assert source.fetch(component(), "3.0") is None
    assert source.fetch(component("nobody"), "1.9") is None
    assert DirectorySource(store=store, registry_path=registry_path / "gone").versions(component()) == ()


def test_a_module_that_states_another_version_of_itself_is_refused(store, registry_path):
    put(registry_path / "acme" / "1.0", {"acme/__init__.py": "__version__ = '1.1'\n"})
    with pytest.raises(ArtifactDamagedError, match=r"says that it is 1\.1"):
        DirectorySource(store=store, registry_path=registry_path).fetch(component(), "1.0")
    assert nothing_is_stored(store)


def test_a_folder_with_a_link_is_refused(store, registry_path):
    put(registry_path / "acme" / "1.0", {"acme.py": ""})
    (registry_path / "acme" / "1.0" / "hosts.py").symlink_to("/etc/hosts")
    with pytest.raises(ArtifactDamagedError, match="link"):
        DirectorySource(store=store, registry_path=registry_path).fetch(component(), "1.0")


def test_an_empty_folder_is_refused(store, registry_path):
    put(registry_path / "acme" / "1.0", {"component.toml": ""})
    with pytest.raises(ArtifactDamagedError, match="no files"):
        DirectorySource(store=store, registry_path=registry_path).fetch(component(), "1.0")


DESCRIPTOR = {
    "description": "Shouts.",
    "component_type": "compiler",
    "dependencies": ["lexer>=1,<2", {"name": "parser", "constraint": ">=3"}],
    "upgrade_path": ["0.9"],
    "hot_swappable": True,
    "critical": True,
    "compatibility_matrix": {"1.0": ["1.1"]},
    "entry_point": "acme:Shout",
}
TOML = """
description = "Shouts."
component_type = "compiler"
dependencies = ["lexer>=1,<2", { name = "parser", constraint = ">=3" }]
upgrade_path = ["0.9"]
hot_swappable = true
critical = true
entry_point = "acme:Shout"
[compatibility_matrix]
"1.0" = ["1.1"]
"""


@pytest.mark.parametrize(("file", "text"), [("component.toml", TOML), ("component.json", json.dumps(DESCRIPTOR))])
def test_a_descriptor_is_read_from_toml_and_json_alike(store, registry_path, file, text):
    put(registry_path / "acme" / "1.0", {"acme.py": "", file: text})
    source = DirectorySource(store=store, registry_path=registry_path)
    (found,) = source.components()
    assert (found.name, found.version, found.component_type) == ("acme", "1.0", "compiler")
    assert [str(need) for need in found.dependencies] == ["lexer<2,>=1", "parser>=3"]
    assert found.compatibility_matrix == {"1.0": ("1.1",)}
    assert found.hot_swappable
    assert found.location == str(registry_path / "acme" / "1.0")
    artifact = source.fetch(component(), "1.0")
    assert artifact.requirements == ("lexer<2,>=1", "parser>=3")
    assert artifact.metadata["entry_point"] == "acme:Shout"


BROKEN = {
    "an unknown key": "hot_swapable = true",
    "a wrong type": 'critical = "yes"',
    "no TOML": "critical = ",
    "another name": 'name = "other"',
    "another version": 'version = "2.0"',
    "a dependency with a marker": "dependencies = [\"a; python_version > '3'\"]",
    "a dependency that is none": 'dependencies = ["a b c"]',
    "a number for a dependency": "dependencies = [3]",
    "a dependency list that is none": 'dependencies = "a"',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_descriptor_that_is_wrong_is_refused_with_its_path(store, registry_path, text):
    put(registry_path / "acme" / "1.0", {"acme.py": "", "component.toml": text})
    with pytest.raises(ArtifactDamagedError, match=r"component\.toml"):
        DirectorySource(store=store, registry_path=registry_path).fetch(component(), "1.0")
    assert nothing_is_stored(store)


def test_an_unknown_key_of_a_descriptor_comes_with_what_was_probably_meant(store, registry_path):
    put(registry_path / "acme" / "1.0", {"acme.py": "", "component.toml": "hot_swapable = true"})
    with pytest.raises(ArtifactDamagedError, match="hot_swappable"):
        DirectorySource(store=store, registry_path=registry_path).fetch(component(), "1.0")


@pytest.mark.parametrize("text", ["[]", "{", '{"critical": true, "critical": false}', "[" * 10_000, '"x"', "\ud800"])
def test_json_that_is_no_descriptor_is_refused(store, registry_path, text):
    put(registry_path / "acme" / "1.0", {"acme.py": ""})
    (registry_path / "acme" / "1.0" / "component.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ArtifactDamagedError):
        DirectorySource(store=store, registry_path=registry_path).fetch(component(), "1.0")


def test_two_descriptors_of_one_version_are_refused(store, registry_path):
    put(registry_path / "acme" / "1.0", {"acme.py": "", "component.toml": "", "component.json": "{}"})
    with pytest.raises(ArtifactDamagedError, match="keep one"):
        DirectorySource(store=store, registry_path=registry_path).fetch(component(), "1.0")


def test_one_broken_descriptor_does_not_hide_the_others(store, registry_path):
    put(registry_path / "acme", {"1.0/acme.py": "", "1.0/component.toml": "oops", "2.0/acme.py": ""})
    put(registry_path / "base", {"1.0.py": ""})
    put(registry_path / ".hidden", {"1.0.py": ""})
    survey = DirectorySource(store=store, registry_path=registry_path).survey()
    assert [(found.name, found.version) for found in survey.components] == [("acme", "2.0"), ("base", "1.0")]
    assert [(finding.subject, finding.source) for finding in survey.findings] == [("acme", "directory")]


# --- what is installed ---------------------------------------------------------------------------------------------


def test_an_installed_distribution_is_captured_without_bytecode_scripts_or_the_installers_notes(store, site):
    files = {**CODE, "acme/data.txt": "data", "acme/__pycache__/x.pyc": "", "../bin/acme": "run"}
    install(site, files=files, notes={"direct_url.json": "{}", "INSTALLER": "pip", "REQUESTED": ""})
    found = InstalledSource(store=store).capture(component(version="1.0"))
    assert sorted(tree_of(store, found)) == [
        "acme-1.0.dist-info/METADATA",
        "acme-1.0.dist-info/RECORD",
        "acme/__init__.py",
        "acme/data.txt",
    ]
    assert (found.kind, found.version, found.top_levels) == ("tree", "1.0", ("acme",))
    assert (found.requirements, found.requires_python) == (("mdurl",), ">=3.8")


def test_only_the_version_that_is_installed_can_be_had(store, site):
    install(site)
    source = InstalledSource(store=store)
    assert source.versions(component(version="1.0")) == ("1.0",)
    assert source.fetch(component(version="1.0"), "1.0.0").version == "1.0"
    assert source.fetch(component(version="1.0"), "2.0") is None
    assert source.capture(component(version="2.0")) is None


def test_a_version_behind_another_one_on_the_path_can_still_be_had(store, site, tmp_path, monkeypatch):
    install(site)
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    install(overlay, version="2.0", files={"acme/__init__.py": "new = True\n"})
    monkeypatch.syspath_prepend(str(overlay))
    source = InstalledSource(store=store)
    assert source.versions(component(version="2.0")) == ("1.0", "2.0")
    assert tree_of(store, source.fetch(component(version="2.0"), "1.0"))["acme/__init__.py"] == CODE["acme/__init__.py"]


def test_files_that_are_gone_are_left_out(store, site):
    install(site, files={**CODE, "acme/gone.py": ""})
    (site / "acme" / "gone.py").unlink()
    found = InstalledSource(store=store).capture(component(version="1.0"))
    assert "acme/gone.py" not in tree_of(store, found)


def test_an_editable_distribution_is_captured_from_where_its_code_lies(store, site, tmp_path, monkeypatch):
    code = put(tmp_path / "checkout" / "src", {"acme/__init__.py": "y = 2\n", "acme/sub/m.py": ""})
    monkeypatch.syspath_prepend(str(code))
    info = install(site, files={"__editable__.acme-1.0.pth": str(code)})
    put(info, {"direct_url.json": json.dumps({"url": "file:///x", "dir_info": {"editable": True}})})
    found = InstalledSource(store=store).capture(component(version="1.0"))
    assert tree_of(store, found)["acme/__init__.py"] == "y = 2\n"
    assert found.top_levels == ("acme",)
    assert "acme/sub/m.py" in tree_of(store, found)


def test_a_distribution_without_a_record_is_captured_by_its_top_level_names(store, site):
    info = install(site)
    (info / "RECORD").unlink()
    put(info, {"top_level.txt": "acme\n"})
    assert "acme/__init__.py" in tree_of(store, InstalledSource(store=store).capture(component(version="1.0")))


def test_a_distribution_whose_files_are_links_is_captured(store, site, tmp_path):
    install(site)
    real = tmp_path / "cache.py"
    (site / "acme" / "__init__.py").rename(real)
    (site / "acme" / "__init__.py").symlink_to(real)
    found = InstalledSource(store=store).capture(component(version="1.0"))
    assert tree_of(store, found)["acme/__init__.py"] == CODE["acme/__init__.py"]


def test_a_broken_distribution_is_passed_over(store, site):
    (site / "acme-1.0.dist-info").mkdir()
    put(site / "acme-2.0.dist-info", {"METADATA": "Name: acme\nVersion: two\n"})
    assert InstalledSource(store=store).versions(component("acme", version="1.0")) == ()
    assert InstalledSource(store=store).capture(component("acme", version="1.0")) is None


def test_nothing_is_imported_to_capture_it(store, site):
    put(site, {"shop/__init__.py": "raise SystemExit('imported')", "shop/pricing.py": "raise SystemExit('imported')"})
    found = InstalledSource(store=store).capture(component("pricing", version="1.0", entry_point="shop.pricing:x"))
    assert list(tree_of(store, found)) == ["shop/pricing.py"]
    assert "shop" not in sys.modules


@pytest.mark.parametrize("location", ["pkg", "pkg/__init__.py", "mod.py"])
def test_a_module_without_a_distribution_is_captured_from_its_location(store, tmp_path, location):
    put(
        tmp_path / "code", {"pkg/__init__.py": "__version__ = '1.0'\n", "pkg/m.py": "", "mod.py": "__version__ = '1.0'"}
    )
    where = component("service", version="1.0", location=str(tmp_path / "code" / location))
    found = InstalledSource(store=store).capture(where)
    expected = ["service.py"] if location == "mod.py" else ["service/__init__.py", "service/m.py"]
    assert sorted(tree_of(store, found)) == expected


def test_a_module_whose_file_states_another_version_by_now_is_not_captured(store, tmp_path):
    put(tmp_path, {"service.py": "__version__ = '2.0'\n"})
    where = component("service", version="1.0", location=str(tmp_path / "service.py"))
    assert InstalledSource(store=store).capture(where) is None
    assert InstalledSource(store=store).versions(where) == ()


@pytest.mark.parametrize("location", ["", "https://member.example/acme", "/nonexistent/acme.py"])
def test_what_has_no_files_here_cannot_be_captured(store, location):
    where = component("no-such-module", version="1.0", location=location)
    assert InstalledSource(store=store).capture(where) is None


def test_a_captured_version_is_bounded_like_any_other(tmp_path, site):
    install(site, files={**CODE, "acme/big.py": "#" * 5000})
    small = ContentStore(tmp_path / "small", max_unpacked_bytes=2000)
    with pytest.raises(ArtifactTooLargeError, match=r"acme 1\.0 holds more"):
        InstalledSource(store=small).capture(component(version="1.0"))


# --- all of them ---------------------------------------------------------------------------------------------------


class Broken:
    name = "broken"

    def versions(self, component):
        raise RuntimeError("lost the key")

    def fetch(self, component, version):
        raise RuntimeError("lost the key")


class Liar:
    name = "liar"

    def versions(self, component):
        return ("1.0", "not a version")

    def fetch(self, component, version):
        return ArtifactRef(name="acme", version="6.6.6", digest="0" * 64, kind="tree", size=0, tree="trees/x")


def test_a_source_that_fails_is_named_in_a_typed_error():
    for ask in (lambda s: s.versions(component()), lambda s: s.fetch(component(), "1.0")):
        with pytest.raises(ArtifactUnavailableError, match="'broken' failed: RuntimeError: lost the key"):
            ask(Sources((Broken(),)))


def test_a_source_that_gives_another_version_is_not_believed():
    with pytest.raises(ArtifactDamagedError, match=r"'liar' gave acme 6\.6\.6"):
        Sources((Liar(),)).fetch(component(), "1.0")


def test_an_unknown_version_tells_what_each_source_has(store, registry_path, wheels):
    put(registry_path / "acme", {"1.0.py": ""})
    sources = Sources(
        (
            DirectorySource(store=store, registry_path=registry_path),
            WheelSource(store=store, locations=[wheels], index=False),
        )
    )
    for ask in (sources.fetch, sources.confirm):
        with pytest.raises(VersionUnknownError) as caught:
            ask(component(), "3.0")
        assert "directory: has 1.0" in caught.value.hint
        assert "wheel: has nothing of it" in caught.value.hint
    sources.confirm(component(), "1.0.0")


def test_without_sources_nothing_is_known():
    with pytest.raises(VersionUnknownError, match="No source is configured"):
        Sources().fetch(component(), "1.0")
    assert Sources().capture(component()) is None
    assert Sources().versions(component()) == ()


def test_the_first_source_in_order_delivers_and_versions_are_merged(store, registry_path, wheels):
    put(registry_path / "acme", {"1.0/acme.py": "", "1.5/acme.py": ""})
    make_wheel(wheels, "acme", "1.0", CODE)
    make_wheel(wheels, "acme", "2.0", CODE)
    directory = DirectorySource(store=store, registry_path=registry_path)
    wheel = WheelSource(store=store, locations=[wheels], index=False)
    assert Sources((directory, wheel)).versions(component()) == ("1.0", "1.5", "2.0")
    assert Sources((directory, wheel)).fetch(component(), "1.0").kind == "tree"
    assert Sources((wheel, directory)).fetch(component(), "1.0").kind == "wheel"


def test_a_damaged_version_of_one_source_is_not_replaced_by_anothers(store, registry_path, wheels):
    put(registry_path / "acme" / "1.0", {"acme.py": "", "component.toml": "oops"})
    make_wheel(wheels, "acme", "1.0", CODE)
    directory = DirectorySource(store=store, registry_path=registry_path)
    wheel = WheelSource(store=store, locations=[wheels], index=False)
    with pytest.raises(ArtifactDamagedError):
        Sources((directory, wheel)).fetch(component(), "1.0")


def test_a_target_may_be_a_version_latest_a_specifier_or_a_file(store, wheels):
    for version in ("1.0", "1.5", "2.0", "3.0rc1"):
        path = make_wheel(wheels, "acme", version, CODE)
    sources = Sources((WheelSource(store=store, locations=[wheels], index=False),))
    assert sources.resolve(component(), "1.5.0") == "1.5"
    assert sources.resolve(component(), "9.9") == "9.9"
    assert sources.resolve(component(), "latest") == "2.0"
    assert sources.resolve(component(), ">=1,<2") == "1.5"
    assert sources.resolve(component(), str(path)) == "3.0rc1"
    assert sources.fetch(component(), str(path)).version == "3.0rc1"
    with pytest.raises(VersionUnknownError, match=">=4"):
        sources.resolve(component(), ">=4")
    with pytest.raises(VersionInvalidError):
        sources.resolve(component(), "newest")
    with pytest.raises(VersionUnknownError, match="no source reads files"):
        Sources().resolve(component(), str(path))


def test_a_capture_comes_from_the_source_that_can(store, site, wheels):
    install(site)
    sources = Sources((WheelSource(store=store, locations=[wheels], index=False), InstalledSource(store=store)))
    assert sources.capture(component(version="1.0")).source == "installed"
    assert sources.capture(component(version="3.0")) is None


def test_every_source_of_the_core_is_a_source(store):
    for made in (DirectorySource(store=store), WheelSource(store=store), InstalledSource(store=store, anything=1)):
        assert isinstance(made, Source)


def test_several_threads_get_the_same_artefact(store, wheels):
    make_wheel(wheels, "acme", "1.0", CODE)
    source = WheelSource(store=store, locations=[wheels], index=False)
    found = []
    threads = [threading.Thread(target=lambda: found.append(source.fetch(component(), "1.0"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(map(repr, found))) == 1
    store.verify(found[0].digest)


def test_the_captured_tree_really_imports(store, site, tmp_path):
    install(site)
    found = InstalledSource(store=store).capture(component(version="1.0"))
    code = "import importlib.metadata as m, acme; print(acme.shout('x'), m.version('acme'))"
    told = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={"PYTHONPATH": str(store.root / found.tree)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["X", "1.0"]


@pytest.mark.network
def test_a_published_version_comes_from_the_index_by_its_number(store, site):
    install(site, name="markdown-it-py", version="0.1", files={"markdown_it/__init__.py": ""})
    found = WheelSource(store=store).fetch(component("markdown-it-py", version="0.1"), "2.2.0")
    assert (found.version, found.top_levels) == ("2.2.0", ("markdown_it",))


def test_a_list_of_versions_begins_with_the_newest_and_says_how_many_more_there_are():
    assert versions.listing([]) == ""
    assert versions.listing(["1.10", "1.9", "1.0"]) == "1.10, 1.9, 1.0"
    many = [f"3.{number}.0" for number in range(30)]
    assert versions.listing(many) == "3.29.0, 3.28.0, 3.27.0, 3.26.0, 3.25.0, 3.24.0, 3.23.0, 3.22.0 and 22 older ones"


def test_what_each_source_said_is_a_sentence_with_one_end(store):
    class Index:
        name = "index"

        def versions(self, component):
            return ()

        def fetch(self, component, version):
            raise VersionUnknownError("it has no wheel of acme==9.", hint="It has: 3.4.0, 3.3.0.")

    with pytest.raises(VersionUnknownError) as caught:
        Sources((Index(), Index())).fetch(ComponentDescriptor(name="acme", version="1.0"), "9.0")
    assert caught.value.hint == (
        "Looked at: index: it has no wheel of acme==9. It has: 3.4.0, 3.3.0;"
        " index: it has no wheel of acme==9. It has: 3.4.0, 3.3.0."
    )
