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


MADE_MORE_OF = [
    "        self.names = sorted(self.filters)\n",
    "        self.names = sorted(FILTERS)\n",
]


@pytest.mark.parametrize("more", MADE_MORE_OF)
def test_where_the_constructor_makes_more_of_a_table_its_copy_is_filled_up_and_the_rest_stays(package, more):
    two = {"filters": "'upper': upper, 'title': upper"}
    three = {**NEW, "filters": "'upper': upper, 'title': upper, 'lower': lower"}
    module = package.load(*(source(**given).replace("        self.name = name\n", more) for given in (two, three)))
    held = module.Environment()
    held.filters["mine"] = len
    package.upgrade()
    assert held.apply("lower", "ABC") == "abc"
    assert set(held.filters) == {"upper", "title", "mine", "lower"}
    assert held.names == ["title", "upper"]
    package.rollback()
    assert set(held.filters) == {"upper", "title", "mine"}


@pytest.mark.parametrize("more", MADE_MORE_OF)
def test_somebody_strict_has_instances_refused_that_were_built_from_a_table_that_differs(package, more):
    old, new = (source(**given).replace("        self.name = name\n", more) for given in ({}, NEW))
    module = package.load(old, new)
    held = module.Environment()
    package.parameters["runtime.instances"] = "strict"
    with pytest.raises(SwapRefusedError, match="FILTERS"):
        package.stage()
    assert held.names == ["upper"]


def test_a_dict_of_defaults_that_was_changed_on_the_way_into_an_instance_gets_what_is_new(package):
    options = """
class Options:
    defaults = {{"debug": False, "start": None{more}}}
    def __init__(self, **given):
        self.options = {{}}
        for name, default in self.defaults.items():
            value = given.pop(name, default)
            self.options[name] = bool(value) if isinstance(default, bool) else value
    def __getattr__(self, name):
        try: return self.__dict__["options"][name]
        except KeyError: raise AttributeError(name)
"""
    module = package.load(options.format(more=""), options.format(more=', "strict": False'))
    held, other = module.Options(debug=1), module.Options(start="x")
    package.upgrade()
    assert (held.debug, held.strict, other.start, other.strict) == (True, False, "x", False)
    package.rollback()
    assert held.options == {"debug": True, "start": None}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1, 2", "'1', '2'"),
        ("(1, 2),", "(1, 2, 3),"),
        ("re.compile('(a)'),", "re.compile('(a)(b)'),"),
        ("re.compile('(?P<a>a)'),", "re.compile('(?P<b>a)'),"),
        ("{'a': 1},", "{'a': (1, 1)},"),
        ("['a'],", "'a',"),
    ],
)
def test_living_instances_stand_against_a_table_of_another_form(package, before, after):
    more = "        self.more = [*RULES]\n        self.name = name\n"
    old, new = (
        "import re" + source(rules=rules).replace("        self.name = name\n", more) for rules in (before, after)
    )
    module = package.load(old, new)
    held = module.Environment()
    with pytest.raises(SwapRefusedError, match="RULES"):
        package.stage()
    del held


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1, 2", "1, 2, 3, 'x'"),
        ("(1, 2),", "(1, 7), (2, 3)"),
        ("re.compile('(a)'),", "re.compile('(b|c)'), re.compile('d')"),
        ("{'a': 1},", "{'a': 2, 'b': 3},"),
        ("(1, None),", "(1, 'x'),"),
        ("['a'],", "['a', 'b'], [1]"),
    ],
)
def test_living_instances_go_on_with_what_they_were_built_from_where_its_form_is_known(package, before, after):
    more = "        self.more = [*RULES]\n        self.name = name\n"
    old, new = (
        "import re" + source(rules=rules).replace("        self.name = name\n", more) for rules in (before, after)
    )
    module = package.load(old, new)
    held = module.Environment()
    kept = list(held.more)
    package.upgrade()
    assert held.more == kept


def test_a_table_that_a_constructor_only_asks_for_something_is_not_what_instances_were_built_from(package):
    new = "        self.known = name in RULES and name not in self.rules\n        self.name = name\n"
    old, new = (source(rules=rules).replace("        self.name = name\n", new) for rules in ("1, 2", "'1', ('2',)"))
    old, new = (text.replace("self.rules = list(RULES)", "self.rules = ()") for text in (old, new))
    module = package.load(old, new)
    held = module.Environment()
    package.parameters["runtime.instances"] = "strict"
    package.upgrade()
    assert held.known is False


def test_dicts_of_the_program_s_own_that_have_the_keys_of_a_table_are_left_alone(package):
    text = """
    TABLE = {{"a": 1, "b": 2{more}}}
    class A:
        def __init__(self, given):
            self.table = {{key: value for key, value in TABLE.items()}}
            self.text = {{key: str(value) for key, value in TABLE.items()}}
            self.seen = {{"a": 0, "b": 0}}
            self.given = given
    """
    mine = {"a": 5, "b": 6}
    held = package.load(text.format(more=""), text.format(more=', "c": 3')).A(mine)
    package.upgrade()
    assert held.table == {"a": 1, "b": 2, "c": 3}
    assert (held.text, held.seen, mine) == ({"a": "1", "b": "2"}, {"a": 0, "b": 0}, {"a": 5, "b": 6})


@pytest.mark.parametrize(
    "more", ["        if given is not None: self.table = given\n", "    def put(self, given): self.table = given\n"]
)
def test_a_table_of_the_program_s_own_that_takes_the_place_of_a_copy_is_left_alone(package, more):
    text = "TABLE = {'a': 1, 'b': 2}\nclass A:\n    def __init__(self, given=None):\n        self.table = dict(TABLE)\n"
    module = package.load(text + more, text.replace("'b': 2", "'b': 2, 'c': 3") + more)
    mine = {"mine": 1}
    held, bare = module.A(mine), module.A()
    held.table = mine
    package.upgrade()
    assert (held.table, mine, bare.table) == (mine, {"mine": 1}, {"a": 1, "b": 2, "c": 3})
