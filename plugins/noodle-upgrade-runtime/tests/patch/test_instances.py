"""New fields reach the instances that live, or the change is refused by name."""

from __future__ import annotations

import sys

import pytest

from noodle_upgrade_core.errors import SwapRefusedError

OLD = """
class A:
    def __init__(self, w=2, h=3):
        self.w = w
        self.h = h
"""


def grown(*lines):
    return OLD + "".join(f"        {line}\n" for line in lines)


def test_a_constant_field_is_there_on_every_live_instance(package):
    module = package.load(OLD, grown("self.unit = 'cm'"))
    held = [module.A() for _ in range(3)]
    package.upgrade()
    assert [a.unit for a in held] == ["cm"] * 3
    assert all("unit" not in vars(a) for a in held)
    package.rollback()
    assert not hasattr(held[0], "unit")


def test_a_mutable_field_is_each_instance_s_own(package):
    module = package.load(OLD, grown("self.tags = []"))
    one, two = module.A(), module.A()
    package.upgrade()
    one.tags.append("x")
    assert (one.tags, two.tags) == (["x"], [])
    assert module.A().tags == []


def test_a_field_is_derived_from_what_the_instance_has(package):
    module = package.load(OLD, grown("self.area = self.w * self.h", "self.double = self.area * 2"))
    held = module.A(4, 5)
    package.upgrade()
    assert (held.double, held.area) == (40, 20)


def test_a_field_from_a_parameter_takes_the_parameter_s_default(package):
    new = OLD.replace("h=3", "h=3, unit=('cm',)") + "        self.unit = list(unit)\n"
    module = package.load(OLD, new)
    held = module.A()
    package.upgrade()
    assert held.unit == ["cm"]
    assert module.A(unit="ab").unit == ["a", "b"]


def test_a_private_name_is_mangled_as_the_compiler_does(package):
    module = package.load(OLD, grown("self.__secret = [1]") + "    def get(self): return self.__secret\n")
    held = module.A()
    package.upgrade()
    assert held.get() == [1]


def test_a_field_that_needs_an_argument_is_refused_with_the_class_the_field_and_the_count(package):
    module = package.load(OLD, OLD.replace("h=3", "h=3, *, unit") + "        self.unit = unit\n")
    held = [module.A(), module.A()]
    with pytest.raises(SwapRefusedError, match=rf"2 live instance\(s\) of {package.name}.A would lack unit"):
        package.stage()
    assert not hasattr(held[0], "unit")


def test_the_same_change_is_made_when_no_instance_lives(package):
    module = package.load(OLD, OLD.replace("h=3", "h=3, *, unit") + "        self.unit = unit\n")
    package.upgrade()
    assert module.A(unit="m").unit == "m"


def test_the_same_change_is_made_when_the_caller_keeps_the_instances(package):
    module = package.load(OLD, OLD.replace("h=3", "h=3, *, unit") + "        self.unit = unit\n")
    held = module.A()
    package.parameters["runtime.instances"] = "keep"
    package.upgrade()
    assert not hasattr(held, "unit")


def test_a_class_may_migrate_its_instances_itself(package):
    new = OLD.replace("self.h = h", "self.size = (w, h)") + (
        "    def __noodle_migrate__(self, added, removed, old_values, from_version, to_version):\n"
        "        self.size = (old_values['w'], old_values['h'])\n"
        "        self.told = (added, removed, from_version, to_version)\n"
    )
    module = package.load(OLD, new)
    held = module.A(7, 8)
    package.upgrade()
    assert held.size == (7, 8)
    assert held.told == (("size",), ("h",), "1.0", "2.0")


def test_an_instance_made_after_staging_has_the_fields_too(package):
    module = package.load(OLD, grown("self.tags = []"))
    package.stage()
    late = module.A()
    package.again()
    assert late.tags == []


def test_the_sweep_fills_what_nobody_has_read_and_takes_the_descriptor_away(package):
    module = package.load(OLD, grown("self.tags = []"))
    held = [module.A() for _ in range(50)]
    package.upgrade()
    package.prepared.settle()
    package.prepared.sweeper.join()
    assert "tags" not in vars(module.A.__mro__[0])
    assert all(vars(a)["tags"] == [] for a in held)
    package.rollback()
    assert held[0].w == 2


def test_a_default_factory_of_a_dataclass_fills_live_instances(package):
    old = "from dataclasses import dataclass, field\n@dataclass\nclass D:\n    a: int = 1\n"
    module = package.load(old, old + "    tags: list = field(default_factory=list)\n    n: int = 4\n")
    one, two = module.D(), module.D()
    package.upgrade()
    one.tags.append(1)
    assert (one.tags, two.tags, two.n, repr(two)) == ([1], [], 4, "D(a=1, tags=[], n=4)")


def test_a_dataclass_field_without_default_is_refused(package):
    old = "from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int\n"
    module = package.load(old, old + "    b: int\n")
    held = module.D(1)
    with pytest.raises(SwapRefusedError, match="would lack b"):
        package.stage()
    assert held.a == 1


def test_fields_of_attrs_classes_come_from_their_defaults(package):
    pytest.importorskip("attr")
    old = "import attr\n@attr.s\nclass D:\n    a = attr.ib(default=1)\n"
    module = package.load(old, old + "    b = attr.ib(default=2)\n    c = attr.ib(factory=dict)\n")
    held = module.D()
    package.upgrade()
    assert (held.b, held.c) == (2, {})


def test_instances_of_a_user_s_subclass_get_the_fields(package):
    module = package.load(OLD, grown("self.tags = []"))
    held = type("Mine", (module.A,), {})()
    package.upgrade()
    assert held.tags == []


def test_a_field_that_another_method_already_gave_is_not_new(package):
    old = OLD + "    def fill(self): self.cache = 1\n"
    module = package.load(old, grown("self.cache = None") + "    def fill(self): self.cache = 1\n")
    held = module.A()
    held.fill()
    package.upgrade()
    assert held.cache == 1
    assert sys.getrefcount(held) >= 2


def test_a_field_that_another_method_may_have_given_is_given_to_those_who_lack_it(package):
    old = OLD + "    def fill(self): self.cache = 1\n"
    module = package.load(old, grown("self.cache = None") + "    def fill(self): self.cache = 1\n")
    filled, bare = module.A(), module.A()
    filled.fill()
    package.upgrade()
    assert (filled.cache, bare.cache) == (1, None)
    package.rollback()
    assert filled.cache == 1
    assert not hasattr(bare, "cache")


def test_a_field_that_another_method_may_have_given_and_that_cannot_be_derived_refuses_nothing(package):
    old = OLD + "    def fill(self): self.scale = 1\n"
    new = OLD.replace("h=3", "h=3, *, scale") + "        self.scale = scale\n    def fill(self): self.scale = 1\n"
    held = package.load(old, new).A()
    package.upgrade()
    assert not hasattr(held, "scale")


def test_a_class_that_gains_a_slot_is_refused_when_instances_live_and_lack_it(package):
    module = package.load(
        "class S:\n    __slots__ = ('a',)\n", "class S:\n    __slots__ = ('a', 'b')\n    def m(self): return 'new'\n"
    )
    held = module.S()
    with pytest.raises(SwapRefusedError):
        package.stage()
    del held
    package.upgrade()
    made = module.S()
    made.b = 1
    assert made.m() == "new"


def test_a_plan_says_beforehand_that_living_instances_would_lack_a_field(package):
    module = package.load(OLD, OLD.replace("h=3", "h=3, unit=None, *, scale") + "        self.scale = scale\n")
    evidence = package.stage().foreseen()
    assert list(evidence["unfit"]) == [f"{package.name}.A"]
    assert "scale (it needs the argument scale)" in evidence["unfit"][f"{package.name}.A"]
    assert package.engine.review(package.change(), evidence) == ()
    held = module.A()
    (blocker,) = package.engine.review(package.change(), evidence)
    assert blocker.startswith(f"1 live instance(s) of {package.name}.A would lack")
    with pytest.raises(SwapRefusedError, match="would lack"):
        package.stage()
    package.parameters["runtime.instances"] = "keep"
    assert package.engine.review(package.change(), evidence) == ()
    del held


SLOTS = """
class Base:
    __slots__ = ('a',)
class S(Base):
    __slots__ = ('b',)
"""


@pytest.mark.parametrize("keep", ["", "keep"])
def test_a_plan_says_beforehand_that_living_instances_of_a_fixed_layout_would_stay_as_they_are(package, keep):
    module = package.load(SLOTS, SLOTS.replace("('b',)", "('b', 'c')"))
    if keep:
        package.parameters["runtime.instances"] = keep
    evidence = package.stage().foreseen()
    assert list(evidence["stuck"]) == [f"{package.name}.S"]
    assert package.engine.review(package.change(), evidence) == ()
    other = module.Base()
    assert package.engine.review(package.change(), evidence) == ()
    held = module.S()
    (blocker,) = package.engine.review(package.change(), evidence)
    assert "cannot become instances of the new class (it gains the slots c" in blocker
    with pytest.raises(SwapRefusedError, match="gains the slots c"):
        package.stage().operations()
    del held, other


def test_instances_that_importing_a_version_makes_by_itself_do_not_stand_against_a_change(package):
    old = OLD + "default = A()\n"
    new = OLD.replace("h=3", "h=3, *, scale") + "        self.scale = scale\ndefault = A(scale=2)\n"
    package.load(old, new)
    evidence = package.stage().foreseen()
    assert package.engine.review(package.change(), evidence) == ()
    package.upgrade()
    assert sys.modules[package.name].default.scale == 2


RESET = """
class S:
    def __init__(self, size=1):
        CALL
    def _reset(self, depth=0, size=2):
        self.level = depth
        MORE
"""


def reset(call="self._reset()", more="pass"):
    return RESET.replace("CALL", call).replace("MORE", more)


def test_a_field_that_a_method_called_by_the_constructor_sets_is_there_as_well(package):
    module = package.load(reset(), reset(more="self.in_case = []"))
    one, two = module.S(), module.S()
    package.upgrade()
    one.in_case.append(1)
    assert (one.in_case, two.in_case) == ([1], [])


def test_the_defaults_of_a_called_method_count_only_where_it_is_called_without_arguments(package):
    module = package.load(reset(), reset(more="self.size = size"))
    held = module.S()
    package.upgrade()
    assert held.size == 2


@pytest.mark.parametrize("call", ["self._reset(size=size)", "if size: self._reset()"])
def test_a_field_that_such_a_method_takes_from_its_arguments_or_not_always_sets_is_refused_by_name(package, call):
    module = package.load(reset(call), reset(call, more="self.size = size"))
    held = module.S()
    with pytest.raises(SwapRefusedError, match="would lack size"):
        package.upgrade()
    del held


def test_private_fields_that_both_versions_have_are_no_new_ones(package):
    text = """
    class C:
        def __init__(self, size):
            self.__size = size
            self.__setup()
        def __setup(self): self.__twice = self.__size * 2
        def f(self): return (VERSION, self.__size, self.__twice)
    """
    module = package.load(text.replace("VERSION", "'old'"), text.replace("VERSION", "'new'"))
    held = module.C(3)
    package.upgrade()
    assert held.f() == ("new", 3, 6)
    package.rollback()
    assert held.f() == ("old", 3, 6)


def test_a_new_private_field_is_made_of_a_private_field_under_the_name_of_the_class_that_has_it(package):
    module = package.load(
        "class B:\n    def _more(self): self.__b = 1\n"
        "class _C(B):\n    def __init__(self, size): self.__size = size; self._more()\n",
        "class B:\n    def _more(self): self.__b = 1; self.__c = self.__b + 1\n    def c(self): return self.__c\n"
        "class _C(B):\n    def __init__(self, size): self.__size = size; self.__double = self.__size * 2; self._more()\n"
        "    def f(self): return (self.__double, self.c())\n",
    )
    held = module._C(3)
    package.upgrade()
    assert held.f() == (6, 2)


CHOOSES = """if self.w > self.h:
            self.shape = 'wide'
        elif self.w == self.h:
            self.shape = 'square'
        else:
            self.shape = 'high'"""


def test_a_field_that_depends_on_a_condition_is_decided_for_each_instance(package):
    module = package.load(OLD, grown(CHOOSES))
    held = [module.A(2, 1), module.A(1, 1), module.A(1, 2)]
    package.upgrade()
    assert [one.shape for one in held] == ["wide", "square", "high"]


def test_a_field_that_the_constructor_would_not_have_given_is_not_there(package):
    module = package.load(OLD, grown("if self.w > self.h:", "    self.shape = 'wide'"))
    held = [module.A(2, 1), module.A(1, 2)]
    package.upgrade()
    assert held[0].shape == "wide"
    assert not hasattr(held[1], "shape")


@pytest.mark.parametrize(
    "lines",
    [
        ("self.table = {}", "for n in range(self.w): self.table[n] = n * self.h"),
        ("self.table = {}", "self.table.update((n, n * self.h) for n in range(self.w))"),
        ("rows = []", "for n in range(self.w):", "    rows.append((n, n * self.h))", "self.table = dict(rows)"),
        (
            "a, n = {}, 0",
            "while True:",
            "    if n == self.w: break",
            "    a[n] = n * self.h",
            "    n += 1",
            "self.table = a",
        ),
        ("self.table = {}", "fill(self.table, self.w, self.h)"),
        ("self.table = {}", "self._fill()"),
        ("self.table = None", "self._make()"),
        ("self._make(more=0)",),
        ("try: self.table = {n: n * self.h for n in range(self.w)}", "except TypeError: self.table = {}"),
        ("self.table, self.w = {n: n * self.h for n in range(self.w)}, self.w",),
    ],
)
def test_a_field_is_made_of_all_the_statements_that_have_a_part_in_it(package, lines):
    more = """
    def _fill(self):
        for n in range(self.w): self.table[n] = n * self.h
    def _make(self, more=0):
        self.table = {}
        for n in range(self.w): self.table[n] = n * self.h + more
def fill(table, w, h):
    for n in range(w): table[n] = n * h
"""
    module = package.load(OLD + more, grown(*lines) + more)
    held = module.A(3, 5)
    package.upgrade()
    assert held.table == {0: 0, 1: 5, 2: 10} == module.A(3, 5).table
    assert held.w == 3


def test_making_a_field_does_nothing_else_that_the_constructor_does(package):
    module = package.load(
        OLD + "made = []\n", grown("made.append(self)", "self.tags = []", "self.w = 0") + "made = []\n"
    )
    held = module.A(3, 5)
    package.upgrade()
    assert held.tags == []
    assert held.w == 3
    assert module.made == []


def test_what_an_instance_was_given_is_taken_from_where_the_old_constructor_stored_it(package):
    old = OLD.replace("self.w = w", "self.width = w")
    new = OLD.replace("self.w = w", "self.size = (w, h)\n        self.w = w")
    module = package.load(old, new)
    held = module.A(7, 8)
    package.upgrade()
    assert (held.size, held.w) == ((7, 8), 7)


def test_the_default_of_an_argument_that_the_old_version_took_as_well_is_no_answer(package):
    old = "class A:\n    def __init__(self, size=1):\n        self.items = [0] * size\n"
    module = package.load(old, old + "        self.size = size\n")
    held = module.A(3)
    with pytest.raises(SwapRefusedError, match="would lack size"):
        package.stage()
    assert len(held.items) == 3


def test_a_constructor_that_may_return_before_gives_a_field_or_does_not(package):
    module = package.load(OLD, grown("if self.w: return", "self.tags = []"))
    held = module.A()
    with pytest.raises(SwapRefusedError, match="would lack tags"):
        package.stage()
    assert held.w == 2


def test_an_instance_that_was_never_constructed_lacks_nothing(package):
    module = package.load(OLD, OLD.replace("h=3", "h=3, *, unit") + "        self.unit = unit\n")
    bare = module.A.__new__(module.A)
    package.upgrade()
    bare.__init__(unit="m")
    assert bare.unit == "m"


def test_what_a_lambda_of_a_field_reads_is_read_when_it_is_called(package):
    module = package.load(OLD, grown("self.rate = [1]", "self.of = lambda: self.rate"))
    held = module.A()
    package.upgrade()
    first = held.of
    held.rate = [2]
    assert first() == [2]


TREE = """
class Root:
    def __init__(self, w=2):
        self.w = w
"""


@pytest.mark.parametrize(
    "call",
    ["super().__init__(text='ab')", "super(Empty, self).__init__(text='ab')", "Literal.__init__(self, text='ab')"],
)
def test_fields_that_the_constructor_of_a_new_base_gives_are_there_as_well(package, call):
    old = TREE + "class Empty(Root): pass\n"
    new = f"""{TREE}class Literal(Root):
    def __init__(self, text=""):
        super().__init__()
        self.text = text
        self.size = len(text)
class Empty(Literal):
    def __init__(self):
        {call}
"""
    module = package.load(old, new)
    held = module.Empty()
    held.w = 5
    package.upgrade()
    assert (held.text, held.size, held.w) == ("ab", 2, 5)
    package.rollback()
    assert package.prepared.went_back() == ()
    assert vars(held) == {"w": 5}


def test_a_constructor_that_is_inherited_from_a_new_base_gives_its_fields(package):
    module = package.load(
        TREE + "class Empty(Root): pass\n",
        TREE
        + "class Tagged(Root):\n    def __init__(self):\n        super().__init__(w=9)\n        self.tags = []\n"
        + "class Empty(Tagged): pass\n",
    )
    held = module.Empty()
    package.upgrade()
    assert (held.tags, held.w, module.Empty().w) == ([], 2, 9)


def test_a_field_that_a_base_gives_in_both_versions_is_not_made_anew(package):
    module = package.load(
        TREE + "class A(Root):\n    def __init__(self, w):\n        super().__init__(w)\n",
        TREE + "class A(Root):\n    def __init__(self, w):\n        super().__init__(w)\n        self.w += 1\n",
    )
    held = module.A(3)
    package.upgrade()
    assert (held.w, module.A(3).w) == (3, 4)


def test_what_was_an_attribute_of_the_class_and_is_one_of_each_instance_is_there_as_well(package):
    module = package.load("class A:\n    limit = 5\n", "class A:\n    def __init__(self): self.limit = [7]\n")

    class Mine(module.A):
        limit = 9

    held, mine = module.A(), Mine()
    package.upgrade()
    assert (held.limit, mine.limit) == ([7], 9)
    package.rollback()
    assert package.prepared.went_back() == ()
    assert (held.limit, vars(held)) == (5, {})


def test_what_was_a_property_and_is_a_field_is_there_as_well_in_both_directions(package):
    field = "class A:\n    def __init__(self): self.size = 'field'\n"
    prop = (
        "class A:\n    def __init__(self): self._size = 'kept'\n"
        "    @property\n    def size(self): return self._size\n"
        "    @size.setter\n    def size(self, value): self._size = value\n"
    )
    module = package.load(field, prop)
    held = module.A()
    package.upgrade()
    since = module.A()
    assert (held.size, since.size) == ("kept", "kept")
    package.rollback()
    assert package.prepared.went_back() == ()
    assert (held.size, since.size) == ("field", "field")


def test_the_sweep_asks_no_method_of_the_class_and_gives_bare_instances_nothing(package):
    asked = "    def __getattr__(self, name):\n        asked.append(name)\n        return getattr(self.w, name)\n"
    module = package.load("asked = []\n" + OLD + asked, "asked = []\n" + grown("self.tags = [self.w]") + asked)
    held, bare = module.A(), module.A.__new__(module.A)
    package.upgrade()
    package.prepared.settle()
    package.prepared.sweeper.join()
    assert (vars(held)["tags"], vars(bare), module.asked) == ([2], {}, [])
    assert "tags" not in vars(module.A)


def test_a_field_that_cannot_be_made_for_an_instance_says_so_whenever_it_is_read(package):
    module = package.load(OLD, grown("self.rate = [1 / self.w]"))
    good, bad = module.A(2), module.A(0)
    package.upgrade()
    package.prepared.settle()
    package.prepared.sweeper.join()
    assert good.rate == [0.5]
    with pytest.raises(ZeroDivisionError):
        bad.rate  # noqa: B018 - reading it is what is tried


def test_no_property_is_read_to_tell_whether_an_instance_was_constructed(package):
    asked = "    @property\n    def name(self): return self.names[0]\n    @name.setter\n    def name(self, value): self.names = [value]\n"
    old = "class A:\n    def __init__(self, n): self.names = []; self.name = n\n" + asked
    module = package.load(old, old.replace("n): self", "n, unit): self.unit = unit; self"))
    held = module.A("x")
    held.names.clear()
    with pytest.raises(SwapRefusedError, match="would lack unit"):
        package.stage()


def test_what_a_property_of_the_old_version_has_kept_already_is_nothing_new(package):
    text = (
        "class A:\n    def __init__(self, code): self.status = code\n"
        "    @property\n    def status(self): return self._status\n"
        "    @status.setter\n    def status(self, value): self._status = value; self._code = VERSION\n"
    )
    module = package.load(text.replace("VERSION", "1"), text.replace("VERSION", "2"))
    held = module.A(200)
    package.upgrade()
    held.status = 404
    assert vars(held) == {"_status": 404, "_code": 2}
