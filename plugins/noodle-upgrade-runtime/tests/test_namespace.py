import builtins
import copy
import gc
import importlib
import importlib.metadata
import inspect
import io
import json
import logging
import pickle
import subprocess
import sys
import threading
import traceback
import types
import unittest.mock
import warnings
import weakref

import pytest

from noodle_upgrade_core.errors import ArtifactIncompatibleError, StageError, StageTimeoutError
from noodle_upgrade_runtime.drain import Drain
from noodle_upgrade_runtime.importlib_bootstrap import FINDER
from noodle_upgrade_runtime.modulename import ModuleName
from noodle_upgrade_runtime.namespace import Member, Space
from noodle_upgrade_runtime.trees import member_of


def others_finders():
    """Return what is on `sys.meta_path` besides our own, which comes and goes with private versions."""
    return [one for one in sys.meta_path if one is not FINDER]


def space_of(fable, version):
    return Space([member_of("fable", version, fable.folder / version)])


@pytest.fixture
def spaces(fable):
    made = []

    def make(version):
        made.append(space_of(fable, version))
        return made[-1]

    yield make
    for space in made:
        space.abandon()


def test_a_version_that_raises_at_import_is_named_by_its_public_name_and_leaves_nothing_behind(fable):
    fable.write("2.0", "from fable import inner\n", inner="raise RuntimeError('fable.inner is broken')\n")
    finders, modules = others_finders(), set(sys.modules)
    space = space_of(fable, "2.0")
    with pytest.raises(StageError, match=r"RuntimeError: fable\.inner is broken") as caught:
        space.load("fable")
    space.abandon()
    assert "@" not in str(caught.value)
    assert others_finders() == finders
    assert set(sys.modules) == modules


def test_a_version_that_exits_at_import_does_not_end_the_program(fable, spaces):
    fable.write("2.0", "raise SystemExit(3)\n")
    with pytest.raises(StageError, match="SystemExit"):
        spaces("2.0").load("fable")


def test_an_extension_module_is_refused(fable, spaces):
    tree = fable.write("2.0", "from fable import fast\n")
    (tree / "fable" / f"fast{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(b"\x7fELF")
    with pytest.raises(ArtifactIncompatibleError, match=r"fable\.fast"):
        spaces("2.0").load("fable")


def test_a_thread_that_hangs_in_an_abandoned_version_can_load_no_more_of_it(fable):
    fable.write(
        "2.0",
        "import sys\ngate = sys.fable_gate\ngate[0].set()\ngate[1].wait()\nfrom fable import late\n",
        late="",
    )
    gate, errors = (threading.Event(), threading.Event()), []
    sys.fable_gate = gate
    space = space_of(fable, "2.0")

    def load():
        try:
            space.load("fable")
        except StageError as error:
            errors.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    gate[0].wait()
    space.abandon()
    gate[1].set()
    thread.join()
    del sys.fable_gate
    assert "given up" in str(errors[0])
    assert not [name for name in sys.modules if name.startswith("fable@")]


def test_two_versions_side_by_side_share_no_module_and_no_container(fable, spaces):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(version, "registry = {}\nfrom fable.inner import who\n", inner="def who(): return __version__\n")
    public, first, second = importlib.import_module("fable"), spaces("1.0").load("fable"), spaces("2.0").load("fable")
    assert len({id(module.registry) for module in (public, first, second)}) == 3
    assert [module.who() for module in (public, first, second)] == ["1.0", "1.0", "2.0"]
    assert sys.modules["fable"] is public


def test_every_way_to_import_an_own_name_finds_the_own_version(fable, spaces):
    fable.run("1.0")
    fable.write("1.0", "", inner="", deep__in__module="")
    fable.write(
        "2.0",
        """
        import fable
        import fable.inner
        import fable.inner as renamed
        from fable import inner
        from . import inner as relative
        from .inner import __version__ as named
        import importlib, importlib.util, sys
        def late():
            import fable.deep.module
            return fable.deep.module.__version__
        def by_string():
            return importlib.import_module("fable.inner").__version__
        def by_relative_string():
            return importlib.import_module(".inner", "fable").__version__
        def by_dunder():
            return __import__("fable.inner").inner.__version__
        def by_exec():
            found = {}
            exec("from fable.inner import __version__ as found", found)
            return found["found"]
        def by_modules():
            return sys.modules["fable.inner"].__version__
        def by_spec():
            return importlib.util.find_spec("fable.inner").origin
        """,
        inner="",
        deep__in____init__="",
        deep__in__module="",
    )
    importlib.import_module("fable.inner")
    new = spaces("2.0").load("fable")
    assert new.fable is new
    assert [m.__version__ for m in (new.fable.inner, new.renamed, new.inner, new.relative)] == ["2.0"] * 4
    assert new.named == "2.0"
    ways = (new.late, new.by_string, new.by_relative_string, new.by_dunder, new.by_exec, new.by_modules)
    assert {way.__name__: way() for way in ways} == {way.__name__: "2.0" for way in ways}
    assert str(fable.folder / "2.0") in new.by_spec()
    assert sys.modules["fable.inner"].__version__ == "1.0"


def test_own_metadata_resources_and_loggers_are_those_of_the_own_version(fable, spaces):
    fable.run("1.0")
    fable.write("1.0")
    tree = fable.write(
        "2.0",
        """
        import importlib.metadata, importlib.resources, pkgutil, logging
        from importlib.metadata import version
        mine, named = version("fable"), importlib.metadata.distribution("Fable").version
        text = importlib.resources.files("fable").joinpath("word.txt").read_text()
        data = pkgutil.get_data("fable", "word.txt")
        log = logging.getLogger(__name__)
        level = logging.WARNING
        """,
    )
    (tree / "fable" / "word.txt").write_text("two")
    new = spaces("2.0").load("fable")
    assert (new.mine, new.named, new.text, new.data) == ("2.0", "2.0", "two", b"two")
    assert new.log.name == "fable"
    assert importlib.metadata.version("fable") == "1.0"


NAMED = """
import logging
from fable import inner
class Event:
    class Error(Exception): pass
    def __init__(self, number): self.number = number
    def __eq__(self, other): return type(other) is Event and self.number == other.number
    def act(self): raise Event.Error("broken")
log = logging.getLogger(__name__)
"""


def test_what_a_private_version_prints_and_logs_and_names_its_tasks_by_has_its_public_name(fable, spaces):
    fable.write("2.0", NAMED, inner="class Deep: pass")
    new = spaces("2.0").load("fable")
    assert repr(new.Event) == "<class 'fable.Event'>"
    assert repr(new.inner.Deep) == "<class 'fable.inner.Deep'>"
    assert f"{new.Event.__module__}.{new.Event.__qualname__}" == "fable.Event"
    assert new.log is logging.getLogger("fable")
    assert new.Event.act.__module__ == "fable"
    with pytest.raises(new.Event.Error) as caught:
        new.Event(1).act()
    assert "fable.Event.Error: broken" in "".join(traceback.format_exception(caught.value))
    assert "@" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("pickler", [pickle.Pickler, pickle._Pickler])
def test_a_pickle_of_what_a_private_version_made_is_read_by_any_process_that_has_the_package(
    fable, spaces, protocol, pickler
):
    tree = fable.write("2.0", NAMED, inner="")
    new, file = spaces("2.0").load("fable"), io.BytesIO()
    pickler(file, protocol).dump((new.Event(3), new.Event.Error, new.Event))
    read = "import pickle, sys; event, *rest = pickle.load(sys.stdin.buffer); print(event.number, *rest)"
    told = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tree)!r}); {read}"],
        input=file.getvalue(), capture_output=True, check=True,
    )  # fmt: skip
    assert told.stdout.decode().split("\n")[0] == "3 <class 'fable.Event.Error'> <class 'fable.Event'>"


def test_a_private_version_reads_pickles_with_its_own_classes(fable, spaces):
    for version in ("1.0", "2.0"):
        fable.write(
            version,
            NAMED + "import io, pickle\nfrom pickle import loads\n"
            "def ways(data): return [loads(data), pickle.load(io.BytesIO(data)), pickle.Unpickler(io.BytesIO(data)).load()]\n"
            "class Own(pickle.Unpickler):\n"
            "    def find_class(self, module, name):\n"
            "        assert module == 'fable'\n"
            "        return super().find_class(module, name)\n",
            inner="",
        )
    fable.run("1.0")
    old, new = importlib.import_module("fable"), spaces("2.0").load("fable")
    data = pickle.dumps(old.Event(3))
    assert new.ways(data) == [new.Event(3)] * 3
    assert new.Own(io.BytesIO(data)).load() == new.Event(3)
    assert old.ways(pickle.dumps(new.Event(4))) == [old.Event(4)] * 3


def test_a_name_in_a_string_is_resolved_in_the_own_version(fable, spaces):
    source = "import pkgutil\ndef found(name): return pkgutil.resolve_name(name)\nclass Here: inner = 1\n"
    for version in ("1.0", "2.0"):
        fable.write(version, source, sub__in____init__="", sub__in__leaf="class Deep:\n    class Er: pass\n")
    fable.run("1.0")
    old, new = importlib.import_module("fable"), spaces("2.0").load("fable")
    for package in (old, new):
        leaf = package.found("fable.sub.leaf")
        assert package.found("fable.sub.leaf:Deep.Er") is package.found("fable.sub.leaf.Deep.Er") is leaf.Deep.Er
        assert package.found("fable.sub.leaf:") is leaf
        assert package.found("fable:Here.inner") == 1
        assert package.found("fable") is package
        assert package.found("json.tool:main") is importlib.import_module("json.tool").main
        for wrong in ("fable.sub.nothing", "fable:Nothing"):
            with pytest.raises(AttributeError):
                package.found(wrong)
        with pytest.raises(ImportError):
            package.found("fable.nothing:Here")
        with pytest.raises(ValueError, match="format"):
            package.found("not a name")
    assert old.found("fable.sub.leaf") is not new.found("fable.sub.leaf")


BRINGS_A_FINDER = """
import sys
from importlib.machinery import ModuleSpec
class Finder:
    name = __name__
    def find_spec(self, name, path, target=None):
        package, dot, last = name.partition(".")
        if package == "fable" and last.startswith("made_"):
            return ModuleSpec(name, self)
    def create_module(self, spec): return None
    def exec_module(self, module):
        assert sys.modules[module.__name__] is module
        vars(module).update(word=__version__, home=__name__)
for number, other in enumerate(sys.meta_path):
    if getattr(other, "name", None) == __name__:
        del sys.meta_path[number]
sys.meta_path.append(Finder())
assert isinstance(sys.meta_path[-1], Finder)
def late():
    from fable import made_late
    return made_late
"""


def test_a_finder_that_a_version_brings_finds_for_its_own_modules_and_takes_nobody_elses_away(fable, spaces):
    for version in ("1.0", "2.0"):
        fable.write(version, BRINGS_A_FINDER)
    fable.run("1.0")
    old = importlib.import_module("fable")
    space = spaces("2.0")
    finders = others_finders()
    new = space.load("fable")
    assert others_finders() == finders
    assert importlib.import_module("fable.made_a").word == "1.0"
    assert space.load("fable.made_b").word == "2.0"
    made = new.late()
    assert (made.word, made.__name__, made.__spec__.name) == (
        "2.0",
        "fable.made_late",
        new.__spec__.name + ".made_late",
    )
    assert (old.late().word, old.late().__spec__.name) == ("1.0", "fable.made_late")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(new.__spec__.name + ".nothing")


def test_relative_imports_start_from_the_own_package_which_reads_as_the_public_one(fable, spaces):
    files = {
        "sub__in____init__": "from . import leaf\nfrom .. import inner\npackage = __package__\n",
        "sub__in__leaf": "from .. import inner as above\nfrom ..inner import __version__ as word\n"
        "import fable\npackage = __package__\ndef beyond():\n    from ... import nothing\n",
        "inner": "",
    }
    fable.write("1.0", "from .sub import leaf", **files)
    fable.write("2.0", "from .sub import leaf", **files)
    fable.run("1.0")
    importlib.import_module("fable")
    new = spaces("2.0").load("fable")
    assert new.leaf.word == "2.0"
    assert new.leaf.above is new.sub.inner is new.inner
    assert (new.__package__, new.sub.package, new.leaf.package) == ("fable", "fable.sub", "fable.sub")
    with pytest.raises(ImportError, match="beyond top-level package"):
        new.leaf.beyond()
    warnings.simplefilter("ignore")
    with pytest.raises(ImportError, match="no known parent package"):
        exec("from . import x", {"__builtins__": new.__builtins__, "__name__": "alone"})


def test_the_import_system_keeps_nothing_of_the_folders_of_a_private_version(fable, spaces):
    tree = fable.write("2.0", "from fable.sub import leaf", sub__in____init__="", sub__in__leaf="")
    spaces("2.0").load("fable")
    assert not [path for path in sys.path_importer_cache if path.startswith(str(tree))]


def test_a_warning_of_a_module_or_of_a_name_in_it_is_told_of_who_imports_it(fable, spaces):
    warn = "import warnings\nwarnings.warn('{}', DeprecationWarning, stacklevel=2)\n"
    lazy = (
        "def __getattr__(name):\n    if name != 'old': raise AttributeError(name)\n"
        "    import warnings\n    warnings.warn('the name', DeprecationWarning, stacklevel=2)\n    return 1\n"
    )
    fable.write(
        "2.0",
        lazy + "def use():\n    from fable import shaky\n    from fable import old\n    return old\n",
        shaky=warn.format("the module"),
    )
    new = spaces("2.0").load("fable")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert new.use() == 1
    # A name is asked for twice by any import of it: whether it is there, and what it is.
    assert sorted((str(one.message), one.filename) for one in told) == [
        ("the module", new.__file__),
        *[("the name", new.__file__)] * 2,
    ]


def test_an_error_of_an_import_names_the_module_as_the_source_does(fable, spaces):
    fable.write(
        "2.0",
        """
        try:
            import fable.fast
        except ImportError as error:
            absolute = error
        try:
            from .fast import speed
        except ImportError as error:
            relative = error
        try:
            from fable import nothing
        except ImportError as error:
            name = error
        """,
    )
    new = spaces("2.0").load("fable")
    for error in (new.absolute, new.relative):
        assert (error.name, error.msg, error.args) == ("fable.fast", str(error), (str(error),))
        assert str(error) == "No module named 'fable.fast'"
    assert new.name.name == "fable"
    assert "@" not in str(new.name)


def test_a_circle_of_imports_finds_what_is_loading_in_its_own_version(fable, spaces):
    source = "from fable import a\n"
    parts = {
        "a": "from fable import b\nfrom . import b as again\nword = 1\n",
        "b": "from fable import a\nimport fable.a as c\n",
    }
    fable.write("1.0", source, **parts)
    fable.write("2.0", source, **parts)
    fable.run("1.0")
    old, new = importlib.import_module("fable"), spaces("2.0").load("fable")
    for package in (old, new):
        assert package.a.b is package.b is package.a.again
        assert package.b.a is package.b.c is package.a
    assert old.a is not new.a


def test_names_from_a_package_that_are_no_submodules_are_missed_as_always_and_a_star_loads_what_all_names(
    fable, spaces
):
    fable.write(
        "2.0",
        "__all__ = ['inner', 'word']\nword = 1\n",
        inner="",
        star="from fable import *\nfound = inner.__version__, word\n",
        missing="from fable import nothing_of_that_kind\n",
        broken="import surely_not_installed\n",
        asks="from fable import broken\n",
    )
    space = spaces("2.0")
    assert space.load("fable.star").found == ("2.0", 1)
    with pytest.raises(StageError, match=r"cannot import name 'nothing_of_that_kind' from 'fable'"):
        space.load("fable.missing")
    with pytest.raises(StageError, match="No module named 'surely_not_installed'"):
        space.load("fable.asks")
    assert not hasattr(space.load("fable"), "broken")


def test_a_module_name_is_the_public_one_to_whoever_reads_it_and_the_private_one_to_a_dict():
    name = ModuleName("fable.inner", "fable@2~1.inner")
    same, other = "fable.inner", "fable.other"
    assert (name == same, same == name, name != same, same != name) == (True, True, False, False)
    assert (name == other, other == name, name != other, other != name) == (False, False, True, True)
    assert name in (same, other)
    assert {"fable@2~1.inner": 1}[name] == 1
    assert name not in {same: 1}
    made = [f"{name}", str(name), name + "", "".join([*name]), copy.deepcopy(name), ".".join(name.split("."))]
    made += [
        name.partition("@")[0],
        name.rpartition("@")[2],
        name.strip(),
        name.removesuffix("x"),
        name[:11][:5] + ".inner",
    ]
    assert {(type(one), one) for one in made} == {(str, same)}
    assert json.dumps({"module": name}) == '{"module": "fable.inner"}'


WITH_EXTENSIONS = """
import importlib.metadata
from importlib import metadata

def found():
    return {
        "selected": [*metadata.entry_points(group="fable.extensions")],
        "of all": [*importlib.metadata.entry_points().select(group="fable.extensions")],
        "of the distribution": [*metadata.distribution("fable").entry_points],
        "of distributions": [e for d in metadata.distributions() if d.metadata["Name"] == "fable" for e in d.entry_points],
    }

def named(name):
    return metadata.entry_points(group="fable.extensions", name=name)[name]
"""


def written_with_extensions(fable, version, *names):
    tree = fable.write(version, WITH_EXTENSIONS, ext="class Toc: inner = 1\n")
    lines = "".join(f"{name} = fable.ext:Toc\n" for name in names)
    (tree / f"fable-{version}.dist-info" / "entry_points.txt").write_text(f"[fable.extensions]\n{lines}")


def test_a_versions_own_entry_points_are_those_of_its_metadata_and_load_its_own_modules(fable, spaces):
    written_with_extensions(fable, "1.0", "toc", "gone")
    written_with_extensions(fable, "2.0", "toc", "new")
    fable.run("1.0")
    old, new = importlib.import_module("fable"), spaces("2.0").load("fable")
    for way, found in new.found().items():
        assert sorted(one.name for one in found) == ["new", "toc"], way
        assert {one.load() for one in found} == {new.ext.Toc}, way
        assert all(isinstance(one, importlib.metadata.EntryPoint) for one in found)
    assert new.named("toc").value == "fable.ext:Toc"
    for way, found in old.found().items():
        assert sorted(one.name for one in found) == ["gone", "toc"], way
        assert {one.load() for one in found} == {importlib.import_module("fable.ext").Toc}, way


def test_an_entry_point_that_another_distribution_declares_for_a_module_of_ours_loads_the_private_one(fable, spaces):
    written_with_extensions(fable, "1.0", "toc")
    written_with_extensions(fable, "2.0", "toc")
    fable.run("1.0")
    info = fable.folder / "1.0" / "others-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[fable.extensions]\nalias = fable.ext:Toc.inner\nforeign = json:loads [extra]\n"
    )
    new = spaces("2.0").load("fable")
    sys.modules.pop("fable.ext", None)
    assert new.named("alias").load() == 1
    assert "fable.ext" not in sys.modules
    assert {one.name for one in new.found()["selected"]} == {"toc", "alias", "foreign"}
    assert new.named("foreign").load() is json.loads
    assert new.named("alias").dist.metadata["Name"] == "others"


LATE = """
import dataclasses, importlib, pickle, sys, typing
class Node:
    left: "Node | None"
def by_import():
    import fable.inner
    return fable.inner.__version__
def by_string(): return importlib.import_module("fable.inner").__version__
def by_modules(): return sys.modules["fable.inner"].__version__
def hints(): return typing.get_type_hints(Node)["left"].__args__[0] is Node
def fields():
    @dataclasses.dataclass
    class Point:
        x: "typing.ClassVar[int]" = 1
    return dataclasses.fields(Point)
def pickled(): return pickle.loads(pickle.dumps(Node())).__class__ is Node
def others():
    import json.tool
    return json.tool.__name__
def new():
    import fable.late
    return fable.late.__version__
"""


def private_modules():
    gc.collect()
    return [name for name in sys.modules if name.startswith("fable@")]


def test_code_that_still_runs_in_a_released_version_finds_all_of_it_and_nothing_of_it_stays(fable):
    fable.write("2.0", LATE + "import fable.inner\n", inner="", late="")
    space = space_of(fable, "2.0")
    late = space.load("fable")
    space.release()
    assert late.by_import() == late.by_string() == late.by_modules() == late.new() == "2.0"
    assert (late.hints(), late.fields(), late.pickled()) == (True, (), True)
    assert late.others() == "json.tool"
    assert pickle.dumps(late.Node()).count(b"fable") == 1
    drain = Drain([space])
    del late, space
    assert drain.wait(10.0)
    assert not private_modules()


def test_a_release_while_a_module_is_being_imported_lets_the_import_end(fable):
    fable.write(
        "2.0",
        "def late():\n    from fable import slow\n    return slow.value\n",
        slow="import sys\nsys.fable_inside.set()\nsys.fable_gate.wait()\nvalue = 1\n",
    )
    sys.fable_gate, sys.fable_inside = threading.Event(), threading.Event()
    space = space_of(fable, "2.0")
    late = space.load("fable").late
    found = []
    thread = threading.Thread(target=lambda late: found.append(late()), args=(late,))
    thread.start()
    sys.fable_inside.wait()
    space.release()
    sys.fable_gate.set()
    thread.join()
    del sys.fable_gate, sys.fable_inside, late, space, thread
    assert found == [1]
    assert not private_modules()


def test_threads_that_import_the_same_module_at_once_get_it_whole(fable, spaces):
    fable.write(
        "2.0",
        "def use():\n    from . import slow\n    return slow.value\n",
        slow="import time\ntime.sleep(0.2)\nvalue = 1\n",
    )
    new, found = spaces("2.0").load("fable"), []
    threads = [threading.Thread(target=lambda: found.append(new.use())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1]


def test_a_name_that_a_version_lacks_is_never_taken_from_the_other_one(fable, spaces):
    source = "try:\n    from . import _fast\nexcept ImportError as error:\n    _fast = error\n"
    fable.write("1.0", source, _fast="", inner="")
    fable.write(
        "2.0",
        source + "from . import inner\ndel inner\ndef again():\n    from fable import inner\n    return inner\n",
        inner="",
    )
    fable.run("1.0")
    importlib.import_module("fable.inner")
    new = spaces("2.0").load("fable")
    assert isinstance(new._fast, ImportError)
    assert str(new._fast).startswith("cannot import name '_fast' from partially initialized module 'fable'")
    assert new.again().__version__ == "2.0"


def test_a_name_of_a_module_leads_import_module_to_the_own_one_whoever_asks(fable, spaces):
    for version in ("1.0", "2.0"):
        fable.write(version, "class K: pass\n", inner="class K: pass\n")
    fable.run("1.0")
    importlib.import_module("fable.inner")
    space = spaces("2.0")
    new, inner = space.load("fable"), space.load("fable.inner")
    assert importlib.import_module(new.K.__module__) is new
    assert importlib.import_module(inner.K.__module__) is inner
    assert importlib.resources.files(new.__package__) == importlib.resources.files("fable").parents[1] / "2.0" / "fable"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_process_that_a_version_forks_runs_the_same_version(fable, spaces):
    source = """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    class Job: version = __version__
    def make(number): return Job()
    def pool():
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            job = pool.submit(make, 1).result()
        return job.version, type(job) is Job
    """
    fable.write("1.0", source)
    fable.write("2.0", source)
    fable.run("1.0")
    old, new = importlib.import_module("fable"), spaces("2.0").load("fable")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads
        assert (old.pool(), new.pool()) == (("1.0", True), ("2.0", True))


def test_what_a_version_walks_through_and_sees_in_sys_modules_is_its_own(fable, spaces):
    source = """
    import pkgutil, sys, shelve
    import importlib as il
    def walk(): return [info.name for info in pkgutil.walk_packages(__path__, "fable.")]
    def seen(): return sorted(name for name in sys.modules if name.startswith("fable"))
    def items(): return [module for name, module in sys.modules.items() if name.startswith("fable")]
    def kinds(): return isinstance(sys.modules, dict), len(sys.modules.copy()) == len(sys.modules), "fable" in sys.modules | {}
    def shelved(path, value):
        with shelve.open(path) as shelf: shelf["one"] = value
        with shelve.open(path) as shelf: return type(shelf["one"])
    class Value: pass
    def by_dunder(): return il.__import__("fable")
    """
    fable.write("1.0", source, sub__in____init__="", sub__in__gone="", gone="")
    fable.write("2.0", source, sub__in____init__="", sub__in__come="")
    fable.run("1.0")
    importlib.import_module("fable.gone")
    new = spaces("2.0").load("fable")
    assert new.walk() == ["fable.sub", "fable.sub.come"]
    assert new.seen() == ["fable", "fable.sub"]
    assert new.items() == [new, new.sub]
    assert new.kinds() == (True, True, True)
    assert new.shelved(str(fable.folder / "shelf"), new.Value()) is new.Value
    assert new.by_dunder() is new


def test_code_that_knows_only_its_name_imports_from_its_own_package(fable, spaces):
    fable.write("1.0", "", inner="")
    fable.write(
        "2.0",
        """
        import types
        def by_module():
            made = types.ModuleType(__name__ + ".made")
            exec("from . import inner", vars(made))
            return made.inner.__version__
        def by_names():
            names = {"__name__": __name__, "__path__": __path__}
            exec("from .inner import __version__ as found", names)
            return names["found"]
        """,
        inner="",
    )
    fable.run("1.0")
    importlib.import_module("fable.inner")
    new = spaces("2.0").load("fable")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        assert (new.by_module(), new.by_names()) == ("2.0", "2.0")


class Greedy:
    """Finds whatever lies in a folder, as those that instrument modules do."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.PathFinder.find_spec(name, path)


def test_finders_that_come_later_and_stand_in_front_load_no_module_of_a_private_version(fable, spaces):
    fable.write("1.0", "", inner="import fable\n")
    by_string = "import importlib\ndef by_string(): return importlib.import_module('fable.other')\n"
    fable.write(
        "2.0",
        by_string + "def late():\n    from fable import inner\n    return inner\n",
        inner="import fable\n",
        other="import fable\n",
    )
    fable.run("1.0")
    new = spaces("2.0").load("fable")
    greedy = Greedy()
    sys.meta_path.insert(0, greedy)
    assert new.by_string().fable is new
    sys.meta_path.remove(greedy)
    sys.meta_path.insert(0, greedy)
    assert new.late().fable is new
    assert greedy in sys.meta_path


def test_the_finder_goes_with_the_last_private_version():
    script = """
import gc, sys
from noodle_upgrade_runtime.namespace import Space
before = list(sys.meta_path)
spaces = [Space([]) for _ in range(3)]
assert len(sys.meta_path) == len(before) + 1
spaces.pop().abandon()
spaces.pop().release()
del spaces
gc.collect()
assert sys.meta_path == before
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_is_patched_in_a_module_that_a_version_sees_is_patched_for_all_and_put_back(fable, spaces):
    fable.write("2.0", "import sys\nloaded = sys.modules\n")
    seen, before = spaces("2.0").load("fable").sys, sys.getrefcount
    assert vars(seen)["getrefcount"] is seen.getrefcount is before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "getrefcount", len)
        assert sys.getrefcount is len
    with unittest.mock.patch.object(seen, "getrefcount", len):
        assert sys.getrefcount is len
    assert sys.getrefcount is before
    assert set(dir(seen)) == set(dir(sys))


def test_a_loader_gives_the_source_by_the_public_name(fable, spaces):
    fable.write("2.0", "source = __loader__.get_source('fable')\n")
    assert "get_source" in spaces("2.0").load("fable").source


def test_builtins_are_pickled_by_name_while_private_versions_live(fable, spaces):
    fable.write("2.0")
    spaces("2.0")
    assert pickle.loads(pickle.dumps(builtins)) is builtins


def test_what_is_set_in_builtins_later_reaches_a_private_version_and_what_is_taken_out_does_too(fable, spaces):
    fable.write("2.0", "def ask(): return input()\ndef trace(): return fable_trace\n")
    new = spaces("2.0").load("fable")
    with unittest.mock.patch("builtins.input", return_value="patched"):
        assert new.ask() == "patched"
    assert new.__builtins__["input"] is input
    builtins.fable_trace = 1
    try:
        assert new.trace() == 1
    finally:
        del builtins.fable_trace
    with pytest.raises(NameError):
        new.trace()
    assert new.__builtins__["__import__"] is not builtins.__import__
    with unittest.mock.patch("builtins.__import__", side_effect=builtins.__import__):
        assert new.__builtins__["__import__"]("fable") is new
    assert repr(builtins) == "<module 'builtins' (built-in)>"
    assert isinstance(builtins, types.ModuleType)


def test_builtins_are_what_they_were_when_no_private_version_is_left():
    script = """
import builtins, gc, types
from noodle_upgrade_runtime.namespace import Space
spaces = [Space([]) for _ in range(3)]
assert type(builtins) is not types.ModuleType
while spaces:
    spaces.pop().release()
gc.collect()
assert type(builtins) is types.ModuleType
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_belongs_to_others_is_imported_as_always(fable, spaces):
    fable.write("2.0", "import json, logging.handlers\nfrom collections import abc\nimport importlib.metadata as im\n")
    new = spaces("2.0").load("fable")
    assert new.json is sys.modules["json"]
    assert new.abc is sys.modules["collections.abc"]
    assert new.logging.handlers is sys.modules["logging.handlers"]
    assert new.im.version("pytest") == pytest.__version__


def test_dataclasses_enums_generics_and_pickle_find_their_private_module(fable, spaces):
    fable.write(
        "2.0",
        """
        from __future__ import annotations
        import dataclasses, enum, pickle, typing
        @dataclasses.dataclass
        class Point:
            x: int
            kind: typing.ClassVar[str] = "point"
        class Color(enum.Enum):
            RED = 1
        class Box(typing.NamedTuple):
            point: Point
        """,
    )
    new = spaces("2.0").load("fable")
    assert new.typing.get_type_hints(new.Box) == {"point": new.Point}
    assert new.Point.kind == "point"
    assert [field.name for field in new.dataclasses.fields(new.Point)] == ["x"]
    assert inspect.getmodule(new.Point) is new
    assert sys.modules[new.Color.__module__] is new
    assert new.Color.RED.__reduce_ex__(4)[0] is new.Color
    assert new.pickle.loads(pickle.dumps(new.Color.RED)) is new.Color.RED
    assert [field.name for field in new.dataclasses.fields(new.Point)] == ["x"]


def test_a_namespace_that_others_share_is_private_only_where_it_is_ours(tmp_path):
    for root, part in (("theirs", "other"), ("ours", "mine")):
        folder = tmp_path / root / "shared_names" / part
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f"who = {root!r}\n")
    (tmp_path / "ours" / "shared_names" / "mine" / "__init__.py").write_text(
        "import shared_names.other\nfrom shared_names.mine import part\nfrom .. import other\nfrom ..other import who as their\n"
    )
    (tmp_path / "ours" / "shared_names" / "mine" / "part.py").write_text("")
    sys.path.insert(0, str(tmp_path / "theirs"))
    space = Space([member_of("mine", "1", tmp_path / "ours")])
    try:
        mine = space.load("shared_names.mine")
        assert mine.shared_names.other.who == mine.other.who == mine.their == "theirs"
        assert mine.part.__spec__.name.startswith("shared_names@1")
    finally:
        space.abandon()
        sys.path.remove(str(tmp_path / "theirs"))
        for name in [name for name in sys.modules if name.startswith("shared_names")]:
            del sys.modules[name]


# As pyphen does it: a folder of files that is no package of its own.
def test_files_beside_the_code_are_found_as_resources_of_the_private_version(tmp_path):
    for version in ("1", "2"):
        (tmp_path / version / "fable_words" / "data" / "deep").mkdir(parents=True)
        (tmp_path / version / "fable_words" / "data" / "word.txt").write_text(f"word {version}")
        (tmp_path / version / "fable_words" / "data" / "deep" / "word.txt").write_text(f"deep word {version}")
        (tmp_path / version / "fable_words" / "__init__.py").write_text(
            "from importlib import resources\n"
            "import fable_words.data\n"
            "word = (resources.files('fable_words.data') / 'word.txt').read_text()\n"
            "deep = resources.files('fable_words.data.deep').joinpath('word.txt').read_text()\n"
            "same = (resources.files(fable_words.data) / 'word.txt').read_text()\n"
        )
    sys.path.insert(0, str(tmp_path / "1"))
    space = Space([member_of("fable-words", "2", tmp_path / "2")])
    try:
        old, new = importlib.import_module("fable_words"), space.load("fable_words")
        assert (old.word, old.deep, old.same) == ("word 1", "deep word 1", "word 1")
        assert (new.word, new.deep, new.same) == ("word 2", "deep word 2", "word 2")
    finally:
        space.abandon()
        sys.path.remove(str(tmp_path / "1"))
        for name in [name for name in sys.modules if name.startswith("fable_words")]:
            del sys.modules[name]


def test_a_set_of_components_sees_each_others_new_versions(tmp_path):
    for name, source in (("tale_a", "who = 'new a'\n"), ("tale_b", "import tale_a\nseen = tale_a.who\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text(source)
    members = [Member(name=n, version="2", tree=tmp_path / n, top_levels=(n,)) for n in ("tale_a", "tale_b")]
    space = Space(members)
    try:
        assert space.load("tale_b").seen == "new a"
    finally:
        space.abandon()
    assert "tale_a" not in sys.modules


def test_a_released_version_leaves_the_process_although_its_classes_were_in_typings_caches(fable):
    fable.write(
        "2.0",
        """
        import typing
        class Service:
            @typing.overload
            def get(self, key: int) -> int: ...
            @typing.overload
            def get(self, key: str) -> str: ...
            def get(self, key): return key
        Many = typing.List[Service] | typing.Dict[str, Service]
        """,
    )
    space = space_of(fable, "2.0")
    service = space.load("fable").Service()
    assert service.get(1) == 1
    code = weakref.ref(type(service).get.__code__)
    space.release()
    drain = Drain([space])
    assert not drain.wait(0.0)
    del service, space
    assert drain.wait(10.0)
    assert code() is None


def test_a_hanging_import_is_given_up_when_the_time_is_over_and_leaves_nothing_behind(fable):
    fable.run("1.0")
    fable.write("1.0", "class Service: pass\n")
    fable.write("2.0", "import sys\nsys.fable_gate.wait()\nclass Service: pass\n")
    sys.fable_gate = threading.Event()
    held = fable.handle()
    finders = others_finders()
    with pytest.raises(StageTimeoutError, match="did not finish"):
        fable.engine.stage((fable.change("1.0", "2.0"),), cancelled=lambda: True)
    sys.fable_gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("noodle generation"):
            thread.join()
    del sys.fable_gate
    assert others_finders() == finders
    assert not [name for name in sys.modules if name.startswith("fable@")]
    assert repr(held) == "<handle of fable : fable:Service>"


def test_a_version_may_ask_for_its_metadata_by_its_own_name(fable, spaces):
    text = """
    import importlib.metadata
    from importlib.metadata import version
    mine = version(__name__), importlib.metadata.distribution(distribution_name=__name__).version
    others = version("pytest")
    """
    fable.write("1.0", text)
    fable.write("2.0", text)
    fable.run("1.0")
    module = spaces("2.0").load("fable")
    assert module.mine == ("2.0", "2.0")
    assert module.others == pytest.__version__


# As kombu does it: a table by the names of modules, asked with the `__name__` of one; and what pickles by name.
TABLES = """
import pickle, sys
from . import where

class Thing:
    pass

known = {"tabled_names": 1, "tabled_names.where": 2}
found = (known[__name__], known[where.__name__], where.__name__ in known, where.__name__ in {"tabled_names.where"})
by_name = {__name__: "me", where.__name__: "where"}
again = (by_name["tabled_names"], by_name["tabled_names.where"], by_name[where.Other.__module__])
mine = sys.modules[__name__] is sys.modules[Thing.__module__], sys.modules[where.__name__] is where

def back_and_forth(protocol):
    class Mine(pickle.Pickler):
        pass
    import io
    file = io.BytesIO()
    Mine(file, protocol).dump(Thing)
    other = io.BytesIO()
    pickle.dump(where.Other, other)
    return pickle.loads(file.getvalue()), pickle.loads(other.getvalue()), pickle.loads(pickle.dumps(Thing, protocol))
"""


def test_tables_by_the_names_of_modules_are_found_by_the_private_modules_that_have_them(tmp_path):
    package = tmp_path / "tabled_names"
    package.mkdir()
    (package / "__init__.py").write_text(TABLES)
    (package / "where.py").write_text("class Other:\n    pass\n")
    space = Space([member_of("tabled-names", "2", tmp_path)])
    try:
        new = space.load("tabled_names")
        assert (new.found, new.again, new.mine) == ((1, 2, True, True), ("me", "where", "where"), (True, True))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert new.back_and_forth(protocol) == (new.Thing, new.where.Other, new.Thing)
        # Whoever else looks a module up finds the private one.
        assert sys.modules[new.Thing.__module__] is new
        assert {sys.modules[new.__name__]: 1}[new] == 1
        assert {"tabled_names": 1}.get(new.__name__) is None
    finally:
        space.abandon()
