import copy
import gc
import inspect

import pytest

from noodle_upgrade_core.errors import ComponentUnknownError, InvalidRequestError, StageError
from noodle_upgrade_runtime.handles import Handles, handle


def flipped(fable, old="1.0", new="2.0"):
    swap = fable.stage(old, new)
    swap.shift(1.0)
    swap.commit()
    return swap


@pytest.mark.parametrize("name", ["", "  ", 3, None])
def test_a_handle_without_a_components_name_is_refused(name):
    with pytest.raises(InvalidRequestError, match="needs the name"):
        handle(name, "json:loads", handles=Handles())


def test_a_component_that_cannot_be_imported_is_unknown():
    with pytest.raises(ComponentUnknownError, match="no_such_module_at_all"):
        handle("nothing", "no_such_module_at_all:x", handles=Handles())


def test_a_handle_without_an_entry_point_says_what_to_type():
    with pytest.raises(ComponentUnknownError, match='handle\\("nothing", "module:object"\\)'):
        handle("nothing", handles=Handles())


def test_an_entry_point_that_does_not_exist_or_cannot_be_made_is_named(fable):
    fable.run("1.0")
    fable.write("1.0", "class Service:\n    def __init__(self, needed): self.needed = needed\n")
    with pytest.raises(StageError, match="fable:Missing"):
        fable.handle("fable:Missing")
    with pytest.raises(StageError, match="needed"):
        fable.handle()
    assert fable.handle(arguments={"needed": 3}).needed == 3


def test_a_class_is_made_once_per_version_with_its_arguments(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(
            version,
            "class Service:\n    def __init__(self, n): self.n = n\n    def who(self): return __version__, self.n\n",
        )
    service = fable.handle(arguments={"n": 7})
    assert service.who() == ("1.0", 7)
    flipped(fable)
    assert service.who() == ("2.0", 7)


def test_a_function_a_factory_an_object_and_a_module_are_entry_points(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(
            version,
            """
            def greet(name): return f"{name} {__version__}"
            class Maker:
                def __init__(self, word): self.word = word
                def say(self): return f"{self.word} {__version__}"
            def make(word): return Maker(word)
            shared = Maker("shared")
            """,
        )
    function = fable.handle("fable:greet")
    factory = fable.handle("fable:make", arguments={"word": "made"})
    shared, module = fable.handle("fable:shared"), fable.handle("fable")
    assert [function("hi"), factory.say(), shared.say(), module.greet("mod")] == [
        "hi 1.0",
        "made 1.0",
        "shared 1.0",
        "mod 1.0",
    ]
    assert str(inspect.signature(function)) == "(name)"
    swap = flipped(fable)
    assert [function("hi"), factory.say(), shared.say(), module.greet("mod")] == [
        "hi 2.0",
        "made 2.0",
        "shared 2.0",
        "mod 2.0",
    ]
    swap.revert()
    assert [function("hi"), factory.say(), shared.say(), module.greet("mod")] == [
        "hi 1.0",
        "made 1.0",
        "shared 1.0",
        "mod 1.0",
    ]


SPECIAL = """
class Service:
    def __init__(self): self.items = {{}}
    def __call__(self, x): return ("called", x, {v})
    def __len__(self): return {v}
    def __getitem__(self, key): return self.items[key]
    def __setitem__(self, key, value): self.items[key] = value
    def __delitem__(self, key): del self.items[key]
    def __contains__(self, key): return key in self.items
    def __iter__(self): return iter(self.items)
    def __enter__(self): return {v}
    def __exit__(self, *error): return True
    def __bool__(self): return {v} > 1
    {more}
"""


def test_special_methods_are_those_of_the_current_version(fable):
    fable.run("1.0")
    fable.write("1.0", SPECIAL.format(v=1, more=""))
    fable.write("2.0", SPECIAL.format(v=2, more="def __reversed__(self): return iter([2])"))
    service = fable.handle()
    service["a"] = 1
    assert (service(5), len(service), "a" in service, list(service), bool(service)) == (
        ("called", 5, 1),
        1,
        True,
        ["a"],
        False,
    )
    with service as entered:
        raise ValueError
    assert entered == 1
    flipped(fable)
    assert (service(5), len(service), "a" in service, bool(service)) == (("called", 5, 2), 2, False, True)
    assert list(reversed(service)) == [2]


def test_data_attributes_are_read_and_written_on_the_current_object(fable):
    fable.run("1.0")
    body = """
        class Service:
            limit = 10
            def __init__(self): self.count = 0
            def grow(self): self.count += 1; self.late = self.count
            @property
            def double(self): return self.count * {factor}
        """
    fable.write("1.0", body.format(factor=2))
    fable.write("2.0", body.format(factor=3) + "    extra = 'new'\n")
    service = fable.handle()
    service.grow()
    service.count += 4
    assert (service.count, service.double, service.limit, service.late) == (5, 10, 10, 1)
    service.brand_new = 1
    assert service.brand_new == 1
    del service.brand_new
    with pytest.raises(AttributeError):
        _ = service.brand_new
    flipped(fable)
    service.count = 1
    assert (service.double, service.extra) == (3, "new")


def test_an_object_with_getattr_answers_for_names_that_it_does_not_have(fable):
    fable.run("1.0")
    fable.write("1.0", "class Service:\n    def __getattr__(self, name): return name.upper()\n")
    assert fable.handle().anything == "ANYTHING"


def test_a_method_that_the_new_version_lacks_is_gone_after_the_flip_and_back_after_a_revert(fable):
    fable.run("1.0")
    fable.write("1.0", "class Service:\n    def old(self): return 1\n")
    fable.write("2.0", "class Service:\n    def new(self): return 2\n")
    service = fable.handle()
    swap = flipped(fable)
    assert service.new() == 2
    assert not hasattr(service, "old")
    swap.revert()
    assert service.old() == 1
    assert not hasattr(service, "new")


def test_an_instance_attribute_that_hides_a_method_is_not_frozen(fable):
    fable.run("1.0")
    fable.write(
        "1.0", "class Service:\n    def act(self): return 'method'\n    def __init__(self): self.act = lambda: 'own'\n"
    )
    service = fable.handle()
    assert service.act() == "own"
    service.act = lambda: "replaced"
    assert service.act() == "replaced"


def test_a_copy_of_a_handle_that_is_being_made_fails_clearly_and_not_by_recursion(fable):
    fable.run("1.0")
    fable.write("1.0", "class Service:\n    def __getattr__(self, name): raise AttributeError(name)\n")
    service = fable.handle()
    assert copy.copy([service])[0] is service
    with pytest.raises(AttributeError):
        type(service)().anything  # noqa: B018


def test_a_handle_that_is_made_after_an_upgrade_runs_the_upgraded_version(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(version, "class Service:\n    def who(self): return __version__\n")
    fable.handle()
    kept = fable.handle()
    flipped(fable)
    assert (kept.who(), fable.handle().who()) == ("2.0", "2.0")


def test_a_handle_that_is_made_while_a_swap_is_staged_goes_along(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(version, "class Service:\n    def who(self): return __version__\n")
    first = fable.handle()
    swap = fable.stage("1.0", "2.0")
    second = fable.handle()
    swap.shift(1.0)
    swap.commit()
    assert (first.who(), second.who()) == ("2.0", "2.0")


def test_a_handle_that_nobody_holds_is_forgotten(fable):
    fable.run("1.0")
    fable.write("1.0", "class Service: pass\n")
    service = fable.handle()
    assert fable.handles.components() == ("fable",)
    del service
    gc.collect()
    assert fable.handles.components() == ()


def test_a_property_is_not_read_when_a_handle_is_made(fable):
    fable.run("1.0")
    fable.write(
        "1.0",
        """
        import functools
        class Service:
            asked = []
            @functools.cached_property
            def dear(self): self.asked.append("dear"); return len(self.asked)
            @property
            def cheap(self): self.asked.append("cheap"); return len(self.asked)
            @functools.lru_cache
            def kept(self, x): return x
            def base(self, x, y): return x, y
            with_one = functools.partialmethod(base, 1)
            @functools.singledispatchmethod
            def kind(self, x): return "any"
            @kind.register
            def _(self, x: int): return "int"
            @classmethod
            def made(cls): return cls.__name__
            @staticmethod
            def free(): return "free"
            class Inner: pass
        """,
    )
    service = fable.handle()
    assert service.asked == []
    assert (service.dear, service.dear, service.cheap) == (1, 1, 2)
    assert (service.kept(3), service.with_one(2), service.kind(1), service.kind("x")) == (3, (1, 2), "int", "any")
    assert (service.made(), service.free(), service.Inner.__name__) == ("Service", "free", "Inner")
    assert set(vars(service)) >= {"kept", "with_one", "kind", "made", "free", "base"}
