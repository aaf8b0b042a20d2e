import random
import socket
import sys
import venv

import pytest

from noodle_upgrade_core.errors import (
    ArtifactIncompatibleError,
    ArtifactTooLargeError,
    ArtifactUnavailableError,
    InvalidRequestError,
    VersionInvalidError,
    VersionUnknownError,
)
from noodle_upgrade_core.sources.index import PackageIndex
from tests.unit.wheels import make_wheel

CODE = {"acme/__init__.py": ""}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Real pip, whose only index is a folder of wheels."""
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_QUIET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def program(folder, text):
    """A stand-in for the interpreter, to show what happens when pip behaves badly."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("name", ["", "--index-url=http://evil", "a b", "../x", "x;y", "a==1 b"])
def test_a_name_that_could_be_an_option_never_reaches_pip(name):
    with pytest.raises(InvalidRequestError):
        PackageIndex(python="/nonexistent").confirm(name, "1.0")


@pytest.mark.parametrize("version", ["", "--pre", "1.0 --pre", "1.0,<2", "*"])
def test_a_version_that_could_be_an_option_never_reaches_pip(version):
    with pytest.raises(VersionInvalidError):
        PackageIndex(python="/nonexistent").confirm("acme", version)


def test_an_exact_version_is_downloaded_and_gone_after_the_block(index):
    make_wheel(index, "acme", "1.0", CODE)
    make_wheel(index, "acme", "2.0", CODE)
    with PackageIndex().download("Acme", "1.0.0") as path:
        assert path.name == "acme-1.0-py3-none-any.whl"
        assert path.stat().st_size
    assert not path.exists()


def test_a_version_that_the_index_lacks_is_unknown_with_what_it_has(index):
    make_wheel(index, "acme", "1.0", CODE)
    make_wheel(index, "acme", "2.0", CODE)
    with pytest.raises(VersionUnknownError) as caught, PackageIndex().download("acme", "3.0"):
        pass
    assert "2.0, 1.0" in caught.value.hint
    with pytest.raises(VersionUnknownError, match="no wheel"):
        PackageIndex().confirm("nobody", "1.0")


def test_a_confirmed_version_is_not_kept(index):
    make_wheel(index, "acme", "1.0", CODE)
    PackageIndex().confirm("acme", "1.0")
    assert [path.name for path in index.iterdir()] == ["acme-1.0-py3-none-any.whl"]


def test_source_code_is_never_built(index):
    (index / "acme-1.0.tar.gz").write_bytes(b"whatever")
    with pytest.raises(VersionUnknownError):
        PackageIndex().confirm("acme", "1.0")


def test_a_wheel_for_another_python_is_incompatible_and_not_unknown(index):
    (index / "simple" / "acme").mkdir(parents=True)
    make_wheel(index / "simple" / "acme", "acme", "1.0", CODE, requires_python=">=9")
    page = index / "simple" / "acme" / "index.html"
    page.write_text('<a href="acme-1.0-py3-none-any.whl" data-requires-python="&gt;=9">acme-1.0-py3-none-any.whl</a>')
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PIP_NO_INDEX")
        patch.setenv("PIP_INDEX_URL", (index / "simple").as_uri())
        with pytest.raises(ArtifactIncompatibleError, match=">=9"):
            PackageIndex().confirm("acme", "1.0")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit the files of another process")
def test_a_file_over_the_limit_is_never_written_whole(index):
    make_wheel(index, "acme", "1.0", {**CODE, "acme/data.bin": random.Random(1).randbytes(600_000)})
    with pytest.raises(ArtifactTooLargeError), PackageIndex(max_bytes=200_000).download("acme", "1.0"):
        pass


def test_an_index_that_cannot_be_reached_is_unavailable_and_not_empty(index, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@127.0.0.1:{closed.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "1")
        with pytest.raises(ArtifactUnavailableError, match="could not be reached") as caught:
            PackageIndex().confirm("acme", "1.0")
    assert "secret" not in str(caught.value.to_wire())


def test_an_index_that_never_answers_is_given_up_with_everything_that_was_started(index, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        with pytest.raises(ArtifactUnavailableError, match="within 1 seconds"):
            PackageIndex(timeout=1.0).confirm("acme", "1.0")


def test_an_environment_without_pip_says_so(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    with pytest.raises(ArtifactUnavailableError, match="no pip"):
        PackageIndex(python=str(tmp_path / "bare" / "bin" / "python")).confirm("acme", "1.0")


def test_a_program_without_an_interpreter_says_so(tmp_path):
    for python in ("", str(tmp_path / "gone")):
        with pytest.raises(ArtifactUnavailableError, match=r"interpreter|could not be started"):
            PackageIndex(python=python).confirm("acme", "1.0")


def test_a_flood_of_output_is_kept_short(tmp_path):
    python = program(
        tmp_path, "for n in range(200_000): print('noise', n)\nprint('ERROR: the end')\nraise SystemExit(3)"
    )
    with pytest.raises(ArtifactUnavailableError, match="the end") as caught:
        PackageIndex(python=python).confirm("acme", "1.0")
    assert len(str(caught.value.details)) < 5000


def test_a_flood_on_one_line_is_kept_short_in_memory_too(tmp_path):
    index = PackageIndex(python=program(tmp_path, "print('x' * 5_000_000)\nraise SystemExit(3)"))
    ended, output = index._output([index.python], tmp_path)
    assert ended == 3
    assert len(output) <= 64 << 10
    with pytest.raises(ArtifactUnavailableError) as caught:
        index.confirm("acme", "1.0")
    assert len(str(caught.value)) < 1000


def test_credentials_in_what_pip_says_are_never_repeated(tmp_path):
    text = "print('ERROR: no access to https://user:secret@host/simple')\nraise SystemExit(3)"
    with pytest.raises(ArtifactUnavailableError) as caught:
        PackageIndex(python=program(tmp_path, text)).confirm("acme", "1.0")
    assert "https://***@host/simple" in caught.value.message
    assert "secret" not in str(caught.value.to_wire())


def test_what_pip_leaves_running_does_not_keep_us_waiting(tmp_path):
    text = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    PackageIndex(python=program(tmp_path, text)).confirm("acme", "1.0")


def test_a_success_without_a_wheel_is_a_failure(tmp_path):
    index = PackageIndex(python=program(tmp_path, ""))
    with pytest.raises(ArtifactUnavailableError, match="left 0 wheels"), index.download("acme", "1.0"):
        pass


@pytest.mark.network
def test_a_published_wheel_comes_from_the_configured_index():
    with PackageIndex().download("markdown-it-py", "2.2.0") as path:
        assert path.name == "markdown_it_py-2.2.0-py3-none-any.whl"
