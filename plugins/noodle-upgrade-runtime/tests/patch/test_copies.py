"""Tables that constructors copy into their instances."""

import pytest

from noodle_upgrade_core.errors import SwapRefusedError

SOURCE = """
def upper(text): return text.upper()
{functions}
FILTERS = {{{filters}}}
RULES = [{rules}]
class Environment:
    def __init__(self, name="x"):
        self.filters = {copy}
        self.rules = list(RULES)
        self.name = name
    def apply(self, key, text): return self.filters[key](text)
"""


def source(copy="FILTERS.copy()", functions="", filters="'upper': upper", rules="1, 2"):
    return SOURCE.format(copy=copy, functions=functions, filters=filters, rules=rules)


NEW = {
    "functions": "def lower(text): return text.lower()",
    "filters": "'upper': upper, 'lower': lower",
    "rules": "1, 2, 3",
}


@pytest.mark.parametrize("copy", ["FILTERS.copy()", "dict(FILTERS)", "{**FILTERS}"])
def test_a_living_instance_s_copy_of_a_table_gets_what_the_new_version_added_and_keeps_what_is_its_own(package, copy):
    module = package.load(source(copy), source(copy, **NEW))
    held = module.Environment()
    held.filters["mine"] = len
    held.rules.append(9)
    package.upgrade()
    assert held.apply("lower", "ABC") == "abc"
    assert (held.apply("mine", "ABC"), held.apply("upper", "abc")) == (3, "ABC")
    assert held.rules == [1, 2, 3, 9]
    assert held.filters is not module.FILTERS
    held.filters["later"] = repr
    package.rollback()
    assert set(held.filters) == {"upper", "mine", "later"}
    assert held.rules == [1, 2, 9]


def test_what_the_program_put_into_its_own_copy_stays_also_where_the_new_version_has_the_name(package):
    module = package.load(source(), source(**NEW))
    held = module.Environment()
    held.filters["lower"] = len
    package.upgrade()
    assert held.apply("lower", "ABC") == 3
    assert module.Environment().apply("lower", "ABC") == "abc"


def test_instances_of_a_subclass_are_cared_for_as_well(package):
    module = package.load(source(), source(**NEW))

    class Mine(module.Environment):
        pass

    held = Mine()
    package.upgrade()
    assert held.apply("lower", "ABC") == "abc"


@pytest.mark.parametrize(
    "more",
    [
        "        self.names = sorted(self.filters)\n",
        "        self.names = sorted(FILTERS)\n",
    ],
)
def test_where_the_constructor_makes_more_of_the_table_living_instances_stand_against_the_change(package, more):
    old, new = (source(**given).replace("        self.name = name\n", more) for given in ({}, NEW))
    module = package.load(old, new)
    held = module.Environment()
    with pytest.raises(SwapRefusedError, match="FILTERS"):
        package.stage()
    del held
