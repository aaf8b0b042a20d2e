"""Packages that are their own import hook: the process's finders are not touched, lazy modules stay what they are."""

from __future__ import annotations

import importlib
import string
import sys
import threading

import pytest

from noodle_upgrade_core.errors import SwapRefusedError

# As `six` does it: an importer put on sys.meta_path at import, an earlier one of its kind taken away first.
LAZY = """
import importlib.machinery, sys, types

class Lazy(types.ModuleType):
    __path__ = []
    answer = ANSWER

class Importer:
    def __init__(self, name):
        self.name = name
        self.known = {}
    def find_spec(self, name, path=None, target=None):
        if name in self.known:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec): return self.known[spec.name]
    def exec_module(self, module): pass
    def version(self): return VERSION

importer = Importer(__name__)
moves = importer.known[__name__ + ".moves"] = Lazy(__name__ + ".moves")
moves.size = 1
importer.known[__name__ + ".moves.chars"] = __import__("string")
__path__ = []
for i, one in enumerate(sys.meta_path):
    if type(one).__name__ == "Importer" and getattr(one, "name", "") == __name__:
        del sys.meta_path[i]
        break
sys.meta_path.append(importer)
"""


def lazy(version):
    return LAZY.replace("VERSION", repr(version)).replace("ANSWER", repr(version))


@pytest.fixture(autouse=True)
def finders():
    """Leave the process's finders as they were."""
    before, spec = (list(sys.meta_path), list(sys.path_hooks)), string.__spec__
    yield
    sys.meta_path[:], sys.path_hooks[:] = before
    string.__spec__ = spec


def test_lazy_modules_of_an_own_importer_keep_their_identity_and_get_the_new_contents(package):
    module = package.load(lazy("old"), lazy("new"))
    moves = importlib.import_module(f"{package.name}.moves")
    chars = importlib.import_module(f"{package.name}.moves.chars")
    spec = chars.__spec__
    moves.mine = "the user's"
    before = list(sys.meta_path)
    package.upgrade()
    assert all(a is b for a, b in zip(sys.meta_path, before, strict=True))
    assert sys.modules[f"{package.name}.moves"] is moves is module.moves
    assert sys.modules[f"{package.name}.moves.chars"] is chars is sys.modules["string"]
    assert chars.__spec__ is spec
    assert (moves.answer, moves.size, moves.mine) == ("new", 1, "the user's")
    assert module.importer.version() == "new"
    assert any(one is module.importer for one in sys.meta_path)
    package.rollback()
    assert all(a is b for a, b in zip(sys.meta_path, before, strict=True))
    assert sys.modules[f"{package.name}.moves"] is moves
    assert (moves.answer, moves.mine, module.importer.version()) == ("old", "the user's", "old")


def test_other_threads_see_the_finders_that_there_are_while_the_new_version_is_staged(package):
    package.load(lazy("old"), lazy("new") + "import string\nstring._noodle_test()\n")
    before, found = list(sys.meta_path), []
    go, told = threading.Event(), threading.Event()

    def watch():
        go.wait(20)
        found.append(list(sys.meta_path))
        told.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    string._noodle_test = lambda: (go.set(), told.wait(20))
    try:
        package.stage()
    finally:
        del string._noodle_test
        go.set()
        watcher.join()
    assert all(a is b for a, b in zip(found[0], before, strict=True))


BUILT = """
import importlib, importlib.machinery, sys, types

class Loader:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(__package__ + ".made_"):
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec): return types.ModuleType(spec.name)
    def exec_module(self, module): exec("def f(): return VERSION", vars(module))

PLACE
made_a = importlib.import_module(__package__ + ".made_a")
"""


@pytest.mark.parametrize(
    "place", ["loader = Loader(); sys.meta_path.append(loader)", "sys.meta_path.insert(0, Loader())"]
)
def test_modules_that_the_new_versions_own_finder_makes_are_found_while_it_is_staged(package, place):
    old, new = (BUILT.replace("VERSION", repr(v)).replace("PLACE", place) for v in ("old", "new"))
    module = package.load(old, new + "made_b = importlib.import_module(__package__ + '.made_b')\n")
    held, before = module.made_a.f, list(sys.meta_path)
    package.upgrade()
    assert (held(), module.made_a.f(), module.made_b.f()) == ("new", "new", "new")
    assert sys.modules[f"{package.name}.made_b"] is module.made_b
    assert importlib.import_module(f"{package.name}.made_c").f() == "new"
    assert all(a is b for a, b in zip(sys.meta_path, before, strict=True))
    package.rollback()
    assert held() == "old"
    assert f"{package.name}.made_b" not in sys.modules
    assert all(a is b for a, b in zip(sys.meta_path, before, strict=True))


def test_a_finder_that_the_new_version_brings_comes_with_the_commit_and_goes_with_the_undo(package):
    place = "sys.meta_path.append(Loader())"
    new = BUILT.replace("VERSION", "'new'").replace("PLACE", place)
    module = package.load("def f(): return 1\n", new)
    before = list(sys.meta_path)
    package.stage()
    assert sys.meta_path == before
    package.again()
    assert len(sys.meta_path) == len(before) + 1
    assert type(sys.meta_path[-1]) is module.Loader
    package.rollback()
    assert sys.meta_path == before


def test_a_finder_that_the_new_version_does_not_bring_any_more_goes_with_the_commit(package):
    old = BUILT.replace("VERSION", "'old'").replace("PLACE", "sys.meta_path.append(Loader())")
    package.load(old, "def f(): return 1\n")
    before = list(sys.meta_path)
    package.upgrade()
    assert sys.meta_path == before[:-1]
    package.rollback()
    assert all(a is b for a, b in zip(sys.meta_path, before, strict=True))


def test_a_path_hook_of_the_new_version_is_not_there_before_the_commit(package):
    hook = "import sys\ndef hook(path): raise ImportError\nsys.path_hooks.append(hook)\n"
    module = package.load("def f(): return 1\n", hook)
    before, cached = list(sys.path_hooks), dict(sys.path_importer_cache)
    package.stage()
    assert sys.path_hooks == before
    assert sys.path_importer_cache == cached
    package.again()
    assert sys.path_hooks == [*before, module.hook]
    package.rollback()
    assert sys.path_hooks == before


ALIASED = """
import sys, types
from . import real
virtual = types.ModuleType(__name__ + ".virtual")
virtual.answer = VERSION
sys.modules[virtual.__name__] = virtual
sys.modules["PKG_alias"] = real
"""


def test_modules_that_a_package_puts_into_sys_modules_by_hand_keep_their_identity(package):
    old, new = (ALIASED.replace("VERSION", repr(v)) for v in ("old", "new"))
    module = package.load(old, new, real=("def f(): return 'old'\n", "def f(): return 'new'\n"))
    name = package.name
    alias, virtual = sys.modules[f"{name}_alias"], sys.modules[f"{name}.virtual"]
    try:
        package.stage()
        assert sys.modules[f"{name}_alias"] is alias
        assert alias.f() == "old"
        package.again()
        assert sys.modules[f"{name}_alias"] is alias is module.real
        assert sys.modules[f"{name}.virtual"] is virtual is module.virtual
        assert (alias.f(), virtual.answer) == ("new", "new")
        package.rollback()
        assert sys.modules[f"{name}_alias"] is alias
        assert (alias.f(), virtual.answer) == ("old", "old")
    finally:
        del sys.modules[f"{name}_alias"]


def test_an_alias_that_the_new_version_brings_comes_with_the_commit_and_goes_with_the_undo(package):
    new = "import sys\nfrom . import real\nsys.modules['PKG_alias'] = real\n"
    module = package.load("from . import real\n", new, real=("x = 1\n", "x = 2\n"))
    alias = f"{package.name}_alias"
    package.stage()
    assert alias not in sys.modules
    package.again()
    assert sys.modules[alias] is module.real
    package.rollback()
    assert alias not in sys.modules


def test_a_module_that_is_an_object_of_a_class_keeps_its_identity(package):
    text = "import sys\nclass Face:\n    def f(self): return VERSION\nsys.modules['PKG.face'] = face = Face()\n"
    old, new = (text.replace("VERSION", repr(v)) for v in ("old", "new"))
    module = package.load(old, new)
    face = sys.modules[f"{package.name}.face"]
    package.upgrade()
    assert sys.modules[f"{package.name}.face"] is face is module.face
    assert face.f() == "new"
    package.rollback()
    assert sys.modules[f"{package.name}.face"] is face
    assert face.f() == "old"


def test_an_object_among_the_modules_that_cannot_be_told_is_refused_by_name(package):
    package.load(
        "import sys\nclass A:\n    x = 1\nsys.modules['PKG.face'] = A()\n",
        "import sys\nclass B:\n    x = 2\nsys.modules['PKG.face'] = B()\n",
    )
    with pytest.raises(SwapRefusedError, match=rf"{package.name}\.face"):
        package.stage()


def test_a_module_that_the_program_has_made_itself_stays(package):
    module = package.load("def f(): return 'old'\n", "def f(): return 'new'\n")
    name = f"{package.name}.mine"
    made = sys.modules[name] = type(sys)(name)
    package.upgrade()
    assert module.f() == "new"
    assert sys.modules[name] is made
    package.rollback()
    assert sys.modules[name] is made


def test_a_module_that_calls_itself_a_package_is_found_where_it_is(package, tmp_path):
    """As `six` does: one file, with `__path__` and a spec like those of a package."""
    text = "__path__ = []\n__spec__.submodule_search_locations = []\nclass A:\n    def f(self): return VERSION\n"
    for version, answer in (("1.0", "old"), ("2.0", "new")):
        (tmp_path / version).mkdir()
        (tmp_path / version / f"{package.name}.py").write_text(text.replace("VERSION", repr(answer)))
    sys.path.insert(0, str(tmp_path / "1.0"))
    importlib.invalidate_caches()
    module = importlib.import_module(package.name)
    held = module.A()
    module.MINE = 1
    package.upgrade()
    assert type(held) is module.A
    assert (held.f(), module.MINE) == ("new", 1)
    package.rollback()
    assert held.f() == "old"


def test_a_running_version_that_is_not_there_any_more_is_refused(package):
    module = package.load("def f(): return 'old'\n", "def f(): return 'new'\n")
    (package.folder / "1.0").rename(package.folder / "elsewhere")
    with pytest.raises(SwapRefusedError, match="is not found where it was imported from"):
        package.stage()
    assert module.f() == "old"


def test_objects_that_do_something_whatever_they_are_asked_for_are_not_asked(package):
    text = """
    class Touchy:
        def __getattr__(self, name): raise RuntimeError(name)
    class A:
        touchy = Touchy()
        def f(self): return VERSION
    """
    module = package.load(text.replace("VERSION", "1"), text.replace("VERSION", "2"))
    package.upgrade()
    assert module.A().f() == 2


# As kombu, celery and earlier versions of werkzeug do it: an object in the module's place, which imports what it is
# asked for, and has no spec.
IN_ITS_PLACE = """
import sys
from types import ModuleType

where = {"Speaker": "speaking"}

class module(ModuleType):
    def __getattr__(self, name):
        if name in where:
            found = __import__(f"{__name__}.{where[name]}", None, None, [name])
            setattr(self, name, getattr(found, name))
            return getattr(found, name)
        return ModuleType.__getattribute__(self, name)

    def __dir__(self):
        return [*where, "__version__"]

old_module = sys.modules[__name__]
new_module = sys.modules[__name__] = module(__name__)
new_module.__dict__.update({"__file__": __file__, "__path__": __path__, "__version__": "VERSION", "__all__": tuple(where)})
"""


@pytest.mark.parametrize("asked", [True, False])
def test_an_object_that_a_package_puts_in_its_own_place_stays_and_imports_the_new_version(package, asked):
    old, new = IN_ITS_PLACE.replace("VERSION", "1.0"), IN_ITS_PLACE.replace("VERSION", "2.0")
    new = new.replace('{"Speaker": "speaking"}', '{"Speaker": "speaking", "Listener": "listening"}')
    speaking = "class Speaker:\n    def say(self): return VERSION\n"
    package.load(old, new)
    for version in ("1.0", "2.0"):
        (package.folder / version / package.name / "speaking.py").write_text(speaking.replace("VERSION", version))
    (package.folder / "2.0" / package.name / "listening.py").write_text("class Listener:\n    ears = 2\n")
    module = sys.modules[package.name]
    held = module.Speaker() if asked else None
    package.upgrade()
    assert importlib.import_module(package.name) is module
    assert (module.__version__, module.Speaker().say(), module.Listener.ears) == ("2.0", 2.0, 2)
    assert dir(module) == ["Listener", "Speaker", "__version__"]
    if held is not None:
        assert (type(held) is module.Speaker, held.say()) == (True, 2.0)
    package.rollback()
    package.prepared.went_back()
    assert importlib.import_module(package.name) is module
    assert module.__version__ == "1.0"
    assert not hasattr(module, "Listener")
    if held is not None:
        assert (type(held) is module.Speaker, held.say()) == (True, 1.0)


# Nobody keeps the module behind this one: what its code has defined is all that leads to its names.
NOBODY_KEEPS_IT = """
import sys, types

LIMIT = VERSION

class Shop(types.ModuleType):
    @property
    def limit(self): return LIMIT
    @staticmethod
    def raised():
        global LIMIT
        LIMIT += 1

sys.modules[__name__] = Shop(__name__)
sys.modules[__name__].__file__ = __file__
"""


def test_names_that_only_the_code_of_a_replaced_module_knows_are_the_new_version_s_and_state_stays(package):
    package.load()
    for version in ("1.0", "2.0"):
        text = NOBODY_KEEPS_IT.replace("VERSION", "1").replace("+= 1", "+= " + version[0])
        (package.folder / version / package.name / "shop.py").write_text(text)
    shop = importlib.import_module(f"{package.name}.shop")
    shop.raised()
    package.upgrade()
    assert importlib.import_module(f"{package.name}.shop") is shop
    assert shop.limit == 2
    shop.raised()
    assert shop.limit == 4
    package.rollback()
    shop.raised()
    assert shop.limit == 5


# As humanfriendly does it: an object of another module's class, which passes on what it is asked for.
PROXY = """
import types

class Proxy(types.ModuleType):
    def __init__(self, module, aliases):
        super().__init__(module.__name__)
        self.module = module
        self.aliases = aliases
    def __getattr__(self, name):
        return getattr(self.module, self.aliases.get(name, name))
"""
PROXIED = """
import sys
from PKG.proxies import Proxy

count = 0
def now():
    global count
    count += 1
    return (VERSION, count)

sys.modules[__name__] = Proxy(sys.modules[__name__], {"then": "now"})
"""


def test_an_object_that_passes_on_what_it_is_asked_for_stays_and_passes_on_to_the_new_version(package):
    texts = (PROXIED.replace("VERSION", "1"), PROXIED.replace("VERSION", "2"))
    package.load(*texts, proxies=(PROXY, PROXY))
    proxy = sys.modules[package.name]
    held = proxy.now
    assert proxy.then() == (1, 1)
    package.upgrade()
    assert importlib.import_module(package.name) is proxy
    assert [proxy.then(), held(), proxy.count] == [(2, 2), (2, 3), 3]
    package.rollback()
    assert [proxy.then(), held(), proxy.count] == [(1, 4), (1, 5), 5]
