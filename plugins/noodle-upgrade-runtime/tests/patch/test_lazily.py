"""What a property has kept in an object is no setting of the program's, and not the other version's answer."""

import pytest

from noodle_upgrade_core.errors import StateConflictError

SOURCE = """
import functools
class Pattern:
    def __init__(self, text):
        self.text = text
        self._name = NAME
    @functools.cached_property
    def upper(self):
        return self.text.upper() + VERSION
    @property
    def name(self):
        if self._name is None: self._name = "made of " + self.text
        return self._name
number = Pattern(TEXT)
"""


def source(text, version, name="None"):
    return SOURCE.replace("TEXT", repr(text)).replace("VERSION", repr(version)).replace("NAME", name)


def test_what_was_looked_up_before_is_made_anew_and_is_back_afterwards(package):
    module = package.load(source("a", "1"), source("b", "2"))
    before = module.number.upper
    package.upgrade()
    assert (before, module.number.upper) == ("A1", "B2")
    package.rollback()
    assert module.number.upper == "A1"


def test_what_was_looked_up_meanwhile_goes_with_the_version_that_made_it(package):
    module = package.load(source("a", "1"), source("b", "2"))
    package.upgrade()
    assert module.number.upper == "B2"
    package.rollback()
    assert module.number.upper == "A1"


def test_objects_of_the_program_s_own_keep_what_they_have_looked_up(package):
    module = package.load(source("a", "1"), source("b", "2"))
    held = module.Pattern("c")
    assert held.upper == "C1"
    package.upgrade()
    assert held.upper == "C1"


def test_what_a_property_has_kept_in_an_attribute_is_no_conflict(package):
    module = package.load(source("a", "1"), source("b", "2", "'given'"))
    assert module.number.name == "made of a"
    package.upgrade()
    assert module.number.name == "given"
    package.rollback()
    assert module.number.name == "made of a"


def test_what_the_program_has_set_there_is_one(package):
    module = package.load(source("a", "1"), source("b", "2", "'given'"))
    module.number._name = "mine"
    with pytest.raises(StateConflictError, match="_name"):
        package.upgrade()
    assert module.number.name == "mine"
