"""Staging has no effect on the rest of the process, whatever the new version does when it is imported."""

from __future__ import annotations

import _imp
import atexit
import builtins
import codecs
import gc
import importlib
import importlib.metadata
import sys
import threading
import warnings
import weakref

import pytest

from noodle_upgrade_core.errors import StageError, StageTimeoutError, SwapRefusedError, UpgradeError


def picture():
    """The process-wide things that staging might leave changed."""
    return (
        builtins.__import__,
        importlib._bootstrap._gcd_import,
        type(sys.modules),
        id(sys.modules),
        dict(sys.modules),
        list(sys.path),
        list(sys.meta_path),
        list(sys.path_hooks),
        list(warnings.filters),
        sys.excepthook,
        atexit.register,
        atexit._ncallbacks(),
        codecs.register,
        {thread.ident for thread in threading.enumerate()},
    )


HOSTILE = {
    "a syntax error": "def f(:\n",
    "an error": "1 / 0\n",
    "an exit": "import sys\nsys.exit(3)\n",
    "an import of something that is not there": "import not_there_at_all\n",
    "a keyboard interrupt": "raise KeyboardInterrupt\n",
    "a thread": "import threading\nthreading.Thread(target=print).start()\n",
    "a raw thread": "import _thread\n_thread.start_new_thread(print, ())\n",
    "an assertion": "assert False, 'no'\n",
    "no end of recursion": "def f(): f()\nf()\n",
    "an error in a submodule": "from . import sub\n",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_version_that_fails_at_import_changes_nothing(package, what):
    module = package.load("def f(): return 'old'\n", HOSTILE[what], sub=("", "raise RuntimeError('sub')\n"))
    before, contents = picture(), dict(vars(module))
    with pytest.raises(UpgradeError) as caught:
        package.stage()
    assert isinstance(caught.value, StageError | SwapRefusedError)
    assert picture() == before
    assert dict(vars(module)) == contents
    assert module.f() == "old"


def test_the_error_shows_the_traceback_of_the_new_version(package):
    package.load("", "x = 1\nraise ValueError('broken release')\n")
    with pytest.raises(StageError, match="ValueError: broken release") as caught:
        package.stage()
    assert "line 2" in caught.value.details["traceback"]
    assert package.name in caught.value.details["traceback"]


def test_a_version_that_hangs_at_import_is_given_up_and_the_import_system_is_given_back(package):
    hanging = package.folder / "hangs"
    package.load("x = 1\n", f"import time\nopen({str(hanging)!r}, 'w').close()\nwhile True: time.sleep(0.01)\n")
    before = picture()[:-1]
    with pytest.raises(StageTimeoutError, match=package.name):
        package.engine.stage((package.change(),), cancelled=hanging.exists)
    assert picture()[:-1] == before
    for thread in threading.enumerate():
        if thread.name == "noodle-upgrade-staging":
            thread.join(10)
            assert not thread.is_alive()


def test_after_a_failure_the_next_staging_works(package):
    module = package.load("def f(): return 'old'\n", "def f(): return 'new'\n")
    package.write("3.0", "1 / 0\n")
    with pytest.raises(StageError):
        package.stage("1.0", "3.0")
    package.upgrade()
    assert module.f() == "new"


def test_staging_alone_is_not_seen_by_anybody(package):
    module = package.load(
        "class A:\n    pass\ndef f(): return 'old'\n",
        "import atexit\nclass A:\n    x = 1\nclass B(A):\n    pass\ndef f(): return 'new'\natexit.register(f)\n",
    )
    before, contents = picture(), dict(vars(module))
    package.stage()
    assert picture() == before
    assert dict(vars(module)) == contents
    assert (module.f(), module.A.__subclasses__(), hasattr(module.A, "x")) == ("old", [], False)


def test_other_threads_import_the_live_modules_while_the_new_version_is_staged(package):
    module = package.load(
        "who = 'old'\n", "import threading\nwho = 'new'\nimport sys\nsys.gate_in.set()\nsys.gate_out.wait(10)\n"
    )
    sys.gate_in, sys.gate_out = threading.Event(), threading.Event()
    seen = []

    def look():
        sys.gate_in.wait(10)
        seen.append(__import__(package.name))
        seen.append(sys.modules[package.name])
        seen.append(importlib.import_module(package.name))
        sys.gate_out.set()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        package.stage()
    finally:
        thread.join()
        del sys.gate_in, sys.gate_out
    assert seen == [module] * 3
    assert module.who == "old"


def test_the_new_version_sees_only_itself_however_it_imports(package):
    new = """
    import importlib, sys, importlib.metadata, importlib.util, pkgutil
    import PKG.sub as absolute
    from . import sub as relative
    from .sub import who
    by_name = importlib.import_module("PKG.sub")
    by_relative_name = importlib.import_module(".sub", "PKG")
    by_modules = sys.modules["PKG.sub"]
    by_builtin = __import__("PKG.sub", fromlist=["who"])
    spec = importlib.util.find_spec("PKG.sub").origin
    version = importlib.metadata.version("PKG")
    every = {m.who for m in (absolute, relative, by_name, by_relative_name, by_modules, by_builtin)} | {who}
    """
    module = package.load("from . import sub\n", new, sub=("who = 'old'\n", "who = 'new'\n"))
    package.upgrade()
    assert module.every == {"new"}
    assert module.by_modules is sys.modules[f"{package.name}.sub"] is module.absolute
    assert module.version == "2.0" == importlib.metadata.version(package.name)
    assert "/2.0/" in module.spec
    package.rollback()
    assert importlib.metadata.version(package.name) == "1.0"


def test_circular_imports_stay_within_the_new_version(package):
    module = package.load(
        "from . import a\n",
        "from . import a\n",
        a=("from . import b\nwho = 'old'\n", "from . import b\nwho = 'new'\n"),
        b=("import PKG.a as a\ndef f(): return a.who\n", "import PKG.a as a\ndef f(): return a.who\n"),
    )
    package.upgrade()
    assert module.a.b.f() == "new"
    assert module.a.b.a is module.a


def test_a_registration_at_import_is_made_once_at_the_commit(package):
    package.load("", "import atexit\ndef bye(): pass\natexit.register(bye)\n")
    before = atexit._ncallbacks()
    package.stage()
    assert atexit._ncallbacks() == before
    package.again()
    assert atexit._ncallbacks() == before + 1


def test_a_codec_that_the_new_version_registers_comes_and_goes_with_it(package):
    package.load(
        "",
        "import codecs\ndef find(name):\n    if name == 'changeling_codec': return codecs.lookup('utf-8')\n"
        "codecs.register(find)\n",
    )
    package.stage()
    with pytest.raises(LookupError):
        codecs.lookup("changeling_codec")
    package.again()
    assert codecs.lookup("changeling_codec").name == "utf-8"
    package.rollback()
    with pytest.raises(LookupError):
        codecs.lookup("changeling_codec")


def test_a_registration_that_the_old_version_made_already_is_not_made_twice(package):
    source = "import atexit\ndef bye(): return '@@'\natexit.register(bye)\n"
    package.load(source.replace("@@", "old"), source.replace("@@", "new"))
    before = atexit._ncallbacks()
    package.upgrade()
    assert atexit._ncallbacks() == before


def test_nothing_is_written_into_either_tree(package, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    package.load("x = 1\n", "x = 2\n")
    before = sorted(p for p in package.folder.rglob("*") if "1.0" not in p.parts)
    package.upgrade()
    assert sorted(p for p in package.folder.rglob("*") if "1.0" not in p.parts) == before


def test_undo_leaves_no_difference(package):
    module = package.load(
        "import enum\nD = {'a': 1}\nclass E(enum.Enum):\n    A = 1\nclass A:\n    def m(self): return 1\n"
        "    @property\n    def p(self): return 1\ndef f(x=1, *, y=2): 'old'\n",
        "import enum\nD = {'a': 2, 'b': 2}\nclass E(enum.Enum):\n    A = 1\n    B = 2\nclass A:\n    def m(self): return 2\n"
        "    def n(self): return 2\n    @property\n    def p(self): return 2\ndef f(x=2, *, y=3, z=4): 'new'\n",
    )

    def look():
        return {
            "module": dict(vars(module)),
            "D": dict(module.D),
            "A": dict(vars(module.A)),
            "E": (dict(vars(module.E)), list(module.E), dict(module.E._member_map_)),
            "f": [getattr(module.f, n) for n in ("__code__", "__defaults__", "__kwdefaults__", "__doc__")],
            "m": module.A.m.__code__,
        }

    before, path = look(), list(sys.path)
    for _ in range(3):
        package.upgrade()
        package.rollback()
        assert look() == before
        assert sys.path == path


def test_an_error_lets_go_of_the_process(package):
    module = package.load("class A: pass\n", "1 / 0\n")
    held = module.A()
    with pytest.raises(StageError) as caught:
        package.stage()
    gc.collect()
    assert len(gc.get_referrers(held)) <= 1, caught
    assert _imp.lock_held() is False


def test_two_packages_of_one_set_are_staged_together(package, tmp_path):
    other = type(package)(tmp_path / "other")
    base = package.load("def f(): return 'old'\n", "def f(): return 'new'\ndef extra(): return 'extra'\n")
    top = other.load(
        f"from {package.name} import f\ndef g(): return f()\n",
        f"from {package.name} import extra\ndef g(): return extra()\n",
    )
    from noodle_upgrade_runtime.operations import Script

    script = Script(package.engine.stage((package.change(), other.change()), cancelled=lambda: False).operations())
    assert (base.f(), top.g()) == ("old", "old")
    script.apply()
    assert (base.f(), top.g(), top.extra is base.extra) == ("new", "extra", True)
    script.revert()
    assert (base.f(), top.g()) == ("old", "old")
    sys.modules.pop(other.name)


def test_a_tree_with_an_extension_module_is_refused_before_anything_is_loaded(package):
    package.load("", "")
    (package.folder / "2.0" / package.name / "fast.cpython-311-x86_64-linux-gnu.so").touch()
    (package.folder / "2.0" / package.name / "fast.abi3.so").touch()
    verdict = package.engine.assess(package.change())
    assert not verdict.feasible
    assert "extension modules" in verdict.blockers[0]


def test_an_import_that_hangs_leaves_the_collector_on_and_holds_nothing_of_the_program(package):
    package.load("", "import threading, sys\nsys.hanging.set()\nsys.go_on.wait(20)\n")
    sys.hanging, sys.go_on = threading.Event(), threading.Event()

    class Program:
        pass

    one = Program()
    gone = weakref.ref(one)
    try:
        with pytest.raises(StageTimeoutError):
            package.engine.stage((package.change(),), cancelled=sys.hanging.is_set)
        del one
        assert gone() is None
        assert gc.isenabled()
    finally:
        sys.go_on.set()
        del sys.hanging, sys.go_on
