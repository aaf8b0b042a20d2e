import pickle

import pytest

from noodle_upgrade_core import errors
from noodle_upgrade_core.errors import HarmDetectedError, UpgradeError

ALL = [getattr(errors, name) for name in errors.__all__]


def test_every_error_has_a_code_of_its_own():
    codes = [cls.code for cls in ALL]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.code)
def test_every_error_crosses_the_wire_unharmed(cls):
    error = cls("It broke.", hint="Mend it.", details={"number": 1, "names": ["a"]})
    again = UpgradeError.from_wire(error.to_wire())
    assert type(again) is cls
    assert again.to_wire() == error.to_wire()
    assert str(again) == "It broke. Mend it."


def test_an_error_of_a_newer_version_is_still_an_error_with_its_code():
    again = UpgradeError.from_wire({"code": "future.thing", "message": "m", "hint": "", "safe": "", "details": {}})
    assert type(again) is UpgradeError
    assert again.details["code"] == "future.thing"


def test_an_error_survives_a_copy_by_pickle_within_a_process():
    error = HarmDetectedError("m", details={"evidence": {"e": 1.0}})
    assert pickle.loads(pickle.dumps(error)).to_wire() == error.to_wire()


def test_an_error_says_what_is_safe_unless_told_otherwise():
    assert "serves on" in UpgradeError("m").safe
    assert "old version" in HarmDetectedError("m").safe
