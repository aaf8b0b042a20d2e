import struct
import sys
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noodle_upgrade_core.errors import (
    ArtifactDamagedError,
    ArtifactIncompatibleError,
    ArtifactTooLargeError,
    ArtifactUnavailableError,
    UpgradeError,
)
from noodle_upgrade_core.sources.wheels import WheelName, read_wheel, supported_tags
from noodle_upgrade_core.store.archives import Limits
from tests.unit.wheels import make_wheel, metadata

CODE = {"acme/__init__.py": "__version__ = '1.0'\n", "acme/text.py": "def shout(x):\n    return x.upper()\n"}
SUPPORTED = supported_tags()


def read(path, **limits):
    return read_wheel(path, limits=Limits(**limits), supported=SUPPORTED)


def set_to(name, data):
    return lambda files: files.__setitem__(name, data)


def test_a_good_wheel_says_what_it_is(tmp_path):
    path = make_wheel(tmp_path, "acme-text", "1.0", CODE, requires=["mdurl~=0.1"], requires_python=">=3.8")
    found = read(path)
    assert (found.name, found.version, found.size) == ("acme-text", "1.0", path.stat().st_size)
    assert found.contents.top_levels == ("acme",)
    assert found.requirements == ("mdurl~=0.1",)
    assert found.requires_python == ">=3.8"
    assert found.contents.extension_modules == ()


DAMAGE = {
    "another file's bytes": set_to("acme/text.py", b"def shout(x):\n    return x.lower()\n"),
    "a longer file": set_to("acme/text.py", b"x = 1\n" * 50),
    "a file that nobody recorded": set_to("acme/extra.py", b""),
    "a file that is gone": lambda files: files.pop("acme/text.py"),
    "no record": lambda files: files.pop("acme-1.0.dist-info/RECORD"),
    "no metadata": lambda files: files.pop("acme-1.0.dist-info/METADATA"),
    "no WHEEL": lambda files: files.pop("acme-1.0.dist-info/WHEEL"),
    "a record that is no table": set_to("acme-1.0.dist-info/RECORD", b'"\xff\xfe'),
    "a record without hashes": set_to("acme-1.0.dist-info/RECORD", b"acme/__init__.py,,\nacme/text.py,,\n"),
    "a record with a weak hash": set_to("acme-1.0.dist-info/RECORD", b"acme/text.py,md5=AAAA,3\n"),
    "two folders of metadata": set_to("other-2.0.dist-info/METADATA", b"Name: other\nVersion: 2.0\n"),
    "a path that leaves the folder": set_to("../evil.py", b""),
    "an absolute path": set_to("/evil.py", b""),
    "a name in two cases": set_to("acme/TEXT.py", b""),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_wheel_that_does_not_fit_its_record_is_damaged(tmp_path, change):
    path = make_wheel(tmp_path, "acme", "1.0", CODE, change=change)
    with pytest.raises(ArtifactDamagedError) as caught:
        read(path)
    assert path.name in caught.value.message
    assert caught.value.hint


def test_a_wheel_whose_metadata_tells_another_name_or_version_is_damaged(tmp_path):
    for number, text in enumerate([metadata("other", "1.0"), metadata("acme", "1.1"), "", "Name: acme\n"]):
        path = make_wheel(tmp_path / str(number), "acme", "1.0", CODE, metadata_text=text)
        with pytest.raises(ArtifactDamagedError, match="metadata says"):
            read(path)


def test_a_wheel_with_the_metadata_of_two_distributions_is_damaged(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", {**CODE, "other-2.0.dist-info/METADATA": metadata("other", "2.0")})
    with pytest.raises(ArtifactDamagedError, match="2 folders"):
        read(path)


def test_a_wheel_that_was_renamed_is_damaged(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", CODE, file_name="acme-2.0-py3-none-any.whl")
    with pytest.raises(ArtifactDamagedError, match=r"acme-1\.0\.dist-info"):
        read(path)


@pytest.mark.parametrize("name", ["acme.whl", "acme-1.0.whl", "acme-one-py3-none-any.whl", "acme-1.0-py3-none-any.zip"])
def test_a_file_that_is_not_called_like_a_wheel_is_refused(tmp_path, name):
    path = make_wheel(tmp_path, "acme", "1.0", CODE, file_name=name)
    with pytest.raises(ArtifactDamagedError, match="not the name of a wheel"):
        read(path)


@pytest.mark.parametrize("info", ["ACME_Text-1.0.dist-info", "acme.text-1.0.0.dist-info"])
def test_other_spellings_of_the_same_name_and_version_are_accepted(tmp_path, info):
    path = make_wheel(tmp_path, "Acme_Text", "1.0", CODE, dist_info=info, metadata_text=metadata("acme-text", "1.0"))
    assert read(path).name == "acme-text"


def test_a_wheel_for_another_platform_says_which_and_what_is_here(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", CODE, tag="cp27-cp27m-win32")
    with pytest.raises(ArtifactIncompatibleError) as caught:
        read(path)
    assert "cp27-cp27m-win32" in caught.value.message
    assert f"cp{sys.version_info[0]}{sys.version_info[1]}" in caught.value.message


def test_a_wheel_for_another_python_is_incompatible(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", CODE, requires_python=">=4")
    with pytest.raises(ArtifactIncompatibleError, match=r"needs Python >=4; this is 3\."):
        read(path)


def test_a_requires_python_that_cannot_be_read_is_damage(tmp_path):
    with pytest.raises(ArtifactDamagedError, match="Requires-Python"):
        read(make_wheel(tmp_path, "acme", "1.0", CODE, requires_python="three"))


def test_a_wheel_of_a_later_format_is_incompatible(tmp_path):
    with pytest.raises(ArtifactIncompatibleError, match=r"format 2\.0"):
        read(make_wheel(tmp_path, "acme", "1.0", CODE, wheel_text="Wheel-Version: 2.0\n"))


def test_a_wheel_without_a_format_is_damaged(tmp_path):
    with pytest.raises(ArtifactDamagedError, match="Wheel-Version"):
        read(make_wheel(tmp_path, "acme", "1.0", CODE, wheel_text="Generator: nobody\n"))


def test_a_bomb_is_refused_by_its_size_before_it_is_unpacked(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", {**CODE, "acme/data.bin": bytes(8 << 20)})
    assert path.stat().st_size < 100_000
    with pytest.raises(ArtifactTooLargeError) as caught:
        read(path, max_unpacked_bytes=1 << 20)
    assert path.name in caught.value.message


def test_a_bomb_that_lies_about_its_size_is_damaged(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", {**CODE, "acme/data.bin": bytes(4 << 20)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 4 << 20), struct.pack("<I", 4096)))
    with pytest.raises(ArtifactDamagedError):
        read(path)


def test_too_large_a_file_is_refused_before_it_is_read(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", CODE)
    with pytest.raises(ArtifactTooLargeError, match="allowed"):
        read(path, max_bytes=100)


def test_too_many_files_are_refused(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", {f"acme/m{n}.py": "" for n in range(30)})
    with pytest.raises(ArtifactTooLargeError):
        read(path, max_files=20)


def test_a_truncated_wheel_is_damaged_wherever_it_ends(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", CODE)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactDamagedError):
            read(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_a_flipped_byte_is_found_or_harmless_and_never_a_crash(tmp_path, data):
    path = make_wheel(tmp_path, "acme", "1.0", CODE)
    whole = bytearray(path.read_bytes())
    good = read(path)
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        found = read(path)
    except UpgradeError:
        return
    assert (found.contents, found.requirements, found.version) == (good.contents, good.requirements, good.version)


def test_a_link_in_a_wheel_is_refused(tmp_path):
    path = make_wheel(tmp_path, "acme", "1.0", CODE)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("acme/link.py")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ArtifactDamagedError, match="link"):
        read(path)


def test_what_is_no_file_is_not_read(tmp_path):
    folder = tmp_path / "acme-1.0-py3-none-any.whl"
    folder.mkdir()
    for path in (folder, tmp_path / "gone-1.0-py3-none-any.whl"):
        with pytest.raises(ArtifactUnavailableError, match="there is no wheel"):
            read(path)


def test_compiled_code_is_listed_and_not_refused_here(tmp_path):
    files = {**CODE, "acme/_fast.cpython-311-x86_64-linux-gnu.so": b"\x7fELF", "acme.libs/libz-1.so.1": b"\x7fELF"}
    found = read(make_wheel(tmp_path, "acme", "1.0", files))
    assert found.contents.extension_modules == (
        "acme.libs/libz-1.so.1",
        "acme/_fast.cpython-311-x86_64-linux-gnu.so",
    )
    assert found.contents.top_levels == ("acme",)


def test_the_most_specific_tag_ranks_first():
    names = [WheelName.of(f"acme-1.0-{tag}.whl") for tag in ("py3-none-any", str(next(iter(SUPPORTED))))]
    assert names[1].rank(SUPPORTED) == 0
    assert names[0].rank(SUPPORTED) > 0
