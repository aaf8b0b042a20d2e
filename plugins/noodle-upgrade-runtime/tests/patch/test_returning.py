"""Instances that the new version has made, after going back to the old one."""

import importlib
import weakref

OLD = """
_cache = {}
class Lexer:
    def __init__(self, text, environment):
        self.text = text
        OLD_FIELDS
    def use(self): return OLD_USE
def get(text="a"):
    if text not in _cache: _cache[text] = Lexer(text, "env")
    return _cache[text]
"""


def version(fields, use):
    return OLD.replace("OLD_FIELDS", fields).replace("OLD_USE", use)


def back(package):
    """Go back as the swap does."""
    package.rollback()
    return package.prepared.went_back()


def test_what_only_the_old_constructor_gives_is_derived_from_what_they_have(package):
    module = package.load(
        version("self.upper = self.text.upper(); self.tags = []", "self.upper, self.tags"),
        version("self.lower = self.text.lower()", "self.lower"),
    )
    package.upgrade()
    made = [module.Lexer("Ab", ""), module.Lexer("Cd", "")]
    assert made[0].use() == "ab"
    assert back(package) == ()
    assert [one.use() for one in made] == [("AB", []), ("CD", [])]
    made[0].tags.append("x")
    assert made[1].tags == []


def test_a_cache_of_what_cannot_be_derived_is_emptied_and_fills_again(package):
    module = package.load(
        version("self.a = str(environment)", "self.a"), version("self.b = str(environment)", "self.b")
    )
    package.upgrade()
    assert module.get("k").use() == "env"
    noted = back(package)
    assert module.get("k").use() == "env"
    assert any("lack(s) a" in one for one in noted)
    assert any(one.startswith("emptied") for one in noted)


def test_a_cache_of_several_parts_is_emptied_whole(package):
    more = """
class Cache:
    def __init__(self):
        self.mapping, self.queue = {}, []
    def get(self, key):
        if key not in self.mapping:
            self.mapping[key] = Lexer(key, "env")
            self.queue.append(key)
        return self.mapping[key]
cache = Cache()
"""
    module = package.load(
        version("self.a = str(environment)", "self.a") + more, version("self.b = str(environment)", "self.b") + more
    )
    package.upgrade()
    assert module.cache.get("k").use() == "env"
    back(package)
    assert (module.cache.mapping, module.cache.queue) == ({}, [])
    assert module.cache.get("k").use() == "env"


def test_registries_with_other_contents_stay_as_they_are(package):
    more = "REGISTRY = {}\n"
    module = package.load(
        version("self.a = str(environment)", "self.a") + more, version("self.b = str(environment)", "self.b") + more
    )
    package.upgrade()
    module.REGISTRY["mine"] = "kept"
    held = module.Lexer("x", "env")
    noted = back(package)
    assert module.REGISTRY == {"mine": "kept"}
    assert len(noted) == 1
    del held


def test_instances_that_lived_before_keep_what_they_have(package):
    module = package.load(version("self.a = str(environment)", "self.a"), version("self.b = 1", "self.b"))
    held = module.Lexer("x", "env")
    package.upgrade()
    assert held.use() == 1
    assert back(package) == ()
    assert held.use() == "env"


def test_what_a_reload_has_bound_since_is_gone_after_going_back_and_what_the_program_bound_stays(package):
    module = package.load(
        "def f(): return 'old'\nclass C:\n    def g(self): return 'old'\ndef patched(): return 'old'\n",
        "def h(): return 'new'\ndef f(): return h()\nclass C:\n    def g(self): return h()\ndef patched(): return 'old'\n",
    )
    old = module.C
    package.upgrade()
    importlib.reload(module)
    module.patched = mine = lambda: "mine"
    assert (module.f(), module.C().g()) == ("new", "new")
    back(package)
    assert (module.f(), module.C().g(), module.C) == ("old", "old", old)
    assert module.patched is mine


GROWING = """
class C:
    def __init__(self):
        self.a = [1]
        MORE
class Slotted:
    __slots__ = ("__dict__",)
    def __init__(self):
        self.a = 1
        MORE
"""


def growing():
    return GROWING.replace("MORE", "pass"), GROWING.replace("MORE", "self.b = [self.a]; self.c = {}; self.d = 0")


def test_fields_that_were_filled_into_instances_go_with_the_version_that_brought_them(package):
    module = package.load(*growing())
    read, swept, own, mine = (module.C() for _ in range(4))
    mine.c = "the user's"
    package.upgrade()
    assert read.b == [[1]]
    package.prepared.settle()
    package.prepared.sweeper.join()
    made = module.C()
    own.e = "the user's, later"
    assert vars(swept).keys() == {"a", "b", "c"}
    assert back(package) == ()
    assert vars(read) == vars(swept) == {"a": [1]}
    assert vars(own) == {"a": [1], "e": "the user's, later"}
    assert vars(mine) == {"a": [1], "c": "the user's"}
    assert made.a == [1]


def test_fields_are_filled_anew_when_the_change_is_made_again(package):
    module = package.load(*growing())
    one = module.C()
    package.upgrade()
    assert one.b == [[1]]
    back(package)
    assert vars(one) == {"a": [1]}
    package.again()
    assert (one.b, one.d) == ([[1]], 0)
    back(package)
    assert vars(one) == {"a": [1]}


def test_fields_that_a_class_has_migrated_itself_go_too(package):
    module = package.load(
        "class C:\n    def __init__(self): self.a = 1\n",
        """
        class C:
            def __init__(self, b): self.b = b
            def __noodle_migrate__(self, added, removed, values, old, new):
                self.b = self.a + 1
                del self.a
        """,
    )
    one = module.C()
    package.upgrade()
    assert (one.b, vars(one)) == (2, {"b": 2})
    back(package)
    assert vars(one) == {"a": 1}


def test_an_instance_that_nothing_else_holds_is_not_kept_for_going_back(package):
    module = package.load(*growing())
    one = module.C()
    package.upgrade()
    assert one.b
    gone = weakref.ref(one)
    del one
    assert gone() is None
    assert back(package) == ()


def test_modules_that_were_first_imported_from_the_new_version_are_those_of_the_old_one_afterwards(package):
    module = package.load("def name(): return 1\n", "def name(): return 2\n")
    for version in ("1.0", "2.0"):
        (package.folder / version / package.name / "late.py").write_text(f"VERSION = {version!r}\n")
    package.upgrade()
    late = importlib.import_module(f"{package.name}.late")
    assert late.VERSION == "2.0"
    assert module.late is late
    back(package)
    assert not hasattr(module, "late")
    assert importlib.import_module(f"{package.name}.late").VERSION == "1.0"


def test_an_instance_that_was_never_constructed_is_given_nothing_on_the_way_back(package):
    module = package.load(version("self.old = 1", "self.old"), version("self.new = 1", "self.new"))
    bare = module.Lexer.__new__(module.Lexer)
    package.upgrade()
    assert back(package) == ()
    assert vars(bare) == {}


def test_a_module_that_was_reloaded_meanwhile_is_all_of_the_old_version_again(package):
    source = "class A:\n    v = {}\n    def m(self): pass\nEMPTY = A()\nTABLE = {{'a': A}}\n"
    module = package.load(source.format(1), source.format(2))
    cls, empty, table = module.A, module.EMPTY, module.TABLE
    package.upgrade()
    importlib.reload(module)
    assert module.A is not cls
    back(package)
    assert (cls, empty, table) == (module.A, module.EMPTY, module.TABLE)
    assert (module.A.v, type(module.EMPTY), module.TABLE["a"]) == (1, cls, cls)


def test_what_the_program_has_bound_meanwhile_stays_where_nothing_was_reloaded(package):
    module = package.load("def f(): return 1\nLIMIT = 1\n", "def f(): return 2\nLIMIT = 1\n")
    package.upgrade()
    module.LIMIT = 9
    back(package)
    assert (module.f(), module.LIMIT) == (1, 9)
