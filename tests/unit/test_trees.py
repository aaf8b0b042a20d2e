import os

import pytest

from noodle_upgrade_core.errors import ArtifactDamagedError, ArtifactTooLargeError, ArtifactUnavailableError
from noodle_upgrade_core.sources.trees import Contents, ModuleFacts, module_facts, walk
from noodle_upgrade_core.store.archives import Limits


def write(folder, **files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_packages_and_modules_are_top_levels_and_metadata_is_not():
    found = Contents.of(
        [
            *("a/__init__.py", "a/b/c.py", "single.py", "typed.pyi", "a-stubs/__init__.pyi", "__main__.py"),
            *("a-1.0.dist-info/METADATA", "bin/run", "native.cpython-311-x86_64-linux-gnu.so", "site.pth"),
        ]
    )
    assert found.top_levels == ("a", "native", "single")
    assert found.namespaces == ()
    assert found.startup_files == ("site.pth",)
    assert found.metadata() == {"startup_files": ["site.pth"]}


def test_a_namespace_package_is_told_with_what_is_in_it():
    found = Contents.of(["google/cloud/storage/__init__.py", "google/cloud/storage/blob.py", "google/api.py"])
    assert found.top_levels == ("google",)
    assert found.namespaces == ("google",)
    assert found.import_names == ("google.api", "google.cloud.storage")


def test_several_top_levels_are_all_named():
    assert Contents.of(["attr/__init__.py", "attrs/__init__.py"]).top_levels == ("attr", "attrs")


def test_a_source_that_cannot_be_read_states_nothing(tmp_path):
    path = tmp_path / "m.py"
    for text in (b"def (", b"\x00", b"\xff\xfe", b"(" * 10_000):
        path.write_bytes(text)
        assert module_facts(path) == ModuleFacts()
    assert module_facts(tmp_path / "gone.py") == ModuleFacts()


def test_only_what_is_written_out_is_a_statement_and_the_last_one_counts(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("__version__ = '1.0'\n__version__: str = '1.1'\n__dependencies__ = ['lexer>=1', 'b']\n")
    assert module_facts(path) == ModuleFacts(version="1.1", dependencies=("lexer>=1", "b"))
    path.write_text("__version__ = '1.0'\n__version__ = read_version()\n")
    assert module_facts(path).version == ""


def test_a_link_in_a_folder_is_refused(tmp_path):
    write(tmp_path, **{"m.py": ""})
    (tmp_path / "link.py").symlink_to(tmp_path / "m.py")
    with pytest.raises(ArtifactDamagedError, match=r"link\.py"):
        walk(tmp_path, limits=Limits())
    assert walk(tmp_path, limits=Limits(), links=True)["link.py"] == (tmp_path / "m.py").resolve()


def test_a_link_to_a_folder_is_never_followed(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(ArtifactDamagedError):
        walk(tmp_path, limits=Limits(), links=True)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactDamagedError, match="special"):
        walk(tmp_path, limits=Limits())


def test_bytecode_and_the_folders_of_tools_are_left_out(tmp_path):
    write(tmp_path, **{"a/m.py": "", "a/__pycache__/m.pyc": "", ".git/config": "", "old.pyc": ""})
    assert list(walk(tmp_path, limits=Limits())) == ["a/m.py"]


def test_too_much_is_refused_while_it_is_counted(tmp_path):
    write(tmp_path, **{f"m{n}.py": "x" * 100 for n in range(10)})
    with pytest.raises(ArtifactTooLargeError, match="files"):
        walk(tmp_path, limits=Limits(max_files=5))
    with pytest.raises(ArtifactTooLargeError, match="bytes"):
        walk(tmp_path, limits=Limits(max_unpacked_bytes=500))


def test_a_folder_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(ArtifactUnavailableError):
        walk(tmp_path / "gone", limits=Limits())
