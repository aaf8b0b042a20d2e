"""Compilations: keys for each phase, early cutoff, and whose fault it is when a version fails."""

import marshal
import sys

import pytest
from attrs import evolve

from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.contract import PHASES, TARGETS
from noodle_upgrade_compiler.errors import PhaseFailedError
from noodle_upgrade_compiler.pipeline import PhaseSet, compile_source
from noodle_upgrade_compiler.store import Store
from noodle_upgrade_core.errors import InvalidRequestError, VersionUnknownError

SOURCE = "let x = 40 + 2;\ndef f(a) { return a + x; }\nprint(f(1));\n"


def compiled(source, phases, store=None, name="t.noodle", **more):
    return compile_source(source, name, phases, store=store, **more)


def ran(result):
    return result.statistics["phases_run"]


def another(version, phase, number="9.0.0", digest="other", **changes):
    """The same version under another number: one whose output does not change."""
    return evolve(getattr(version, phase), version=number, digest=digest, **changes)


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    made = Store(tmp_path / "outputs.db" if request.param == "file" else None)
    yield made
    made.close()


def test_the_second_time_no_phase_runs(phases, store):
    first = compiled(SOURCE, phases, store)
    again = compiled(SOURCE, phases, store)
    assert ran(first) == list(PHASES)
    assert ran(again) == []
    assert again.bytecode == first.bytecode


def test_another_program_may_find_what_one_has_made(phases, tmp_path):
    with_one = Store(tmp_path / "outputs.db")
    first = compiled(SOURCE, phases, with_one, targets=TARGETS)
    with_one.close()
    again = compiled(SOURCE, phases, Store(tmp_path / "outputs.db"), targets=TARGETS)
    assert ran(again) == []
    assert (again.bytecode, again.nbc_bytecode, again.python_code, again.source_map) == (
        first.bytecode, first.nbc_bytecode, first.python_code, first.source_map
    )  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
def test_a_version_whose_output_does_not_change_runs_no_later_phase(phases, store, phase):
    compiled(SOURCE, phases, store)
    after = compiled(SOURCE, phases.having(another(phases, phase)), store)
    later = PHASES[PHASES.index(phase) + 1 :]
    assert phase in ran(after)
    assert not set(later).intersection(ran(after))


def test_going_back_to_a_version_is_a_hit(phases, store):
    compiled(SOURCE, phases, store)
    compiled(SOURCE, phases.having(another(phases, "lexer")), store)
    assert ran(compiled(SOURCE, phases, store)) == []


def test_a_change_that_no_token_shows_runs_the_lexer_alone(phases, store):
    compiled("let x = 1;\n", phases, store)
    assert ran(compiled("let x = 1;\n\n# a word more\n", phases, store)) == [
        "lexer",
        "parser",
        "optimizer",
        "bytecode_generator",
    ]
    assert ran(compiled("let x = 1;   \n", phases, store)) == ["lexer"]


def test_two_versions_of_one_number_are_told_apart_by_what_they_are(phases, store):
    compiled(SOURCE, phases, store)
    assert "parser" in ran(compiled(SOURCE, phases.having(another(phases, "parser", "1.0.0", "otherfiles")), store))


def test_files_of_other_names_and_other_targets_are_other_outputs(phases, store):
    compiled(SOURCE, phases, store)
    assert ran(compiled(SOURCE, phases, store, name="u.noodle")) == ["bytecode_generator"]
    assert ran(compiled(SOURCE, phases, store, targets=("nbc",))) == ["bytecode_generator"]


def test_what_is_kept_says_the_same_as_what_is_made_anew(phases, store):
    wrong = "let x = 1 / 0;\ndef f() { return 1; print(x); }\n"
    first, again, fresh = compiled(wrong, phases, store), compiled(wrong, phases, store), compiled(wrong, phases)
    assert first.warnings == again.warnings == fresh.warnings != ()
    assert marshal.dumps(again.bytecode) == marshal.dumps(fresh.bytecode)
    bad = compiled("let x = ;", phases, store), compiled("let x = ;", phases, store)
    assert bad[0].errors == bad[1].errors != ()


# --- what comes of it ------------------------------------------------------------------------------------------------


def test_a_result_says_which_versions_did_it_and_what_it_imports(phases):
    result = compiled('import "a/b" as b;\nfrom "c" import d;\nprint(b, d);', phases, targets=TARGETS)
    assert result.success
    assert result.statistics["component_versions"] == dict.fromkeys(PHASES, "1.0.0")
    assert result.phases_completed == PHASES
    assert result.facts.imports == ("a/b", "c")
    assert result.nbc_bytecode.startswith(b"\x89NBC")
    assert "import a.b as b" in result.python_code


def test_errors_have_their_phase_their_message_and_their_place(phases):
    result = compiled('let ä = @;\nlet s = "x;\nprint(ö);\n', phases)
    assert not result.success
    assert [(e.phase, e.location) for e in result.errors] == [
        ("lexer", "t.noodle:1:9"), ("lexer", "t.noodle:2:9"), ("parser", "t.noodle:3:7")
    ]  # fmt: skip
    assert result.bytecode is None
    assert set(result.to_wire()["errors"][0]) >= {"phase", "message", "location"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"let x = 1;\n\x80", "not UTF-8"),
        ("let x\0 = 1;", "null"),
        (b"\xef\xbb\xbflet x = 1;", None),
        ("let x = 1;\r\nlet y = x;\r", None),
    ],
)
def test_what_is_no_text_is_an_error_and_line_ends_are_any(phases, source, told):
    result = compiled(source, phases)
    assert result.success == (told is None)
    if told:
        assert told in result.errors[0].message


def test_a_target_that_there_is_not_is_refused(phases):
    with pytest.raises(InvalidRequestError, match="no target wasm"):
        compiled(SOURCE, phases, targets=("wasm",))


def test_python_shows_the_line_of_the_source_in_a_traceback(phases, tmp_path):
    path = tmp_path / "t.noodle"
    path.write_text("def f(a) {\n    return 1 + a / 0;\n}\nf(2);\n")
    result = compiled(path.read_text(), phases, name=str(path))
    with pytest.raises(ZeroDivisionError) as caught:
        exec(result.bytecode, {})
    frame = caught.traceback[-1].frame.raw.f_code
    lines = list(frame.co_positions())
    assert (2, 2, 15, 20) in lines


# --- versions that fail ----------------------------------------------------------------------------------------------


class Broken:
    """What a version gives that is none."""

    tree = ("module", 0, 0, (("nonsense", 0, 0),), ())
    kinds, texts, starts, ends, problems = ("name", "end"), ("x",), (0, 0), (0, 0), ()


def raises(*_):
    raise KeyError("inside")


@pytest.mark.parametrize("phase", PHASES)
def test_a_version_that_raises_is_named(phases, phase):
    with pytest.raises(PhaseFailedError, match=f"{phase} 9.0.0 failed on t.noodle: KeyError") as caught:
        compiled(SOURCE, phases.having(another(phases, phase, call=raises)))
    assert caught.value.details["phase"] == phase


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("gives", [None, 3, Broken(), ()])
def test_a_version_that_gives_what_nobody_can_read_is_named(phases, phase, gives):
    with pytest.raises(PhaseFailedError, match=f"{phase} 9.0.0 gave what no later phase can read"):
        compiled(SOURCE, phases.having(another(phases, phase, call=lambda *_: gives)))


def test_a_version_whose_fault_shows_in_a_later_phase_is_named_and_not_that_one(phases):
    def reversed_(text):
        tokens = phases.lexer.call(text)
        return tokens._replace(starts=tokens.starts[::-1], ends=tokens.ends[::-1])

    def outside(*columns):
        parsed = phases.parser.call(*columns)
        node = parsed.tree[3][0]
        moved = (node[0], node[1] + (5 << 20), *node[2:])
        return parsed._replace(tree=(*parsed.tree[:3], (moved, *parsed.tree[3][1:]), parsed.tree[4]))

    for phase, call in (("lexer", reversed_), ("parser", outside)):
        with pytest.raises(PhaseFailedError, match=f"{phase} 9.0.0 gave what no later phase can read"):
            compiled(SOURCE, phases.having(another(phases, phase, call=call)))


def test_a_version_that_wants_to_end_the_program_has_failed(phases):
    with pytest.raises(PhaseFailedError, match=r"optimizer 9\.0\.0 failed on t\.noodle: SystemExit: 3"):
        compiled(SOURCE, phases.having(another(phases, "optimizer", call=lambda *_: sys.exit(3))))


def test_text_that_is_too_deep_for_python_is_an_error_of_the_source(phases):
    deep = "".join(f"class A{n} {{ def f(self) {{ " for n in range(50)) + "} }" * 50
    result = compiled(deep, phases, targets=("python_source",))
    assert [error.code for error in result.errors] == ["parser.deep"]


def test_a_compiler_tells_of_it_as_an_error_of_the_phase_and_lives(compiler):
    sound = compiler.current
    compiler.current = sound.having(another(sound, "optimizer", call=raises))
    result = compiler.compile(SOURCE, "t.noodle")
    assert [(e.phase, e.code) for e in result.errors] == [("optimizer", "compiler.phase")]
    assert result.phases_completed == ("lexer", "parser")
    compiler.current = sound
    assert compiler.compile(SOURCE, "t.noodle").success


# --- versions that are asked for -------------------------------------------------------------------------------------


def test_the_versions_that_are_asked_for_are_those_that_run(compiler):
    assert not compiler.compile("print(0xff);", "t.noodle").success
    asked = compiler.compile("print(0xff);", "t.noodle", target_versions={"lexer": "1.1.0"})
    assert asked.success
    assert asked.statistics["component_versions"]["lexer"] == "1.1.0"
    assert compiler.current.versions["lexer"] == "1.0.0"


def test_a_version_that_there_is_not_is_refused_with_those_that_there_are(compiler):
    with pytest.raises(VersionUnknownError, match=r"1\.0\.0, 1\.1\.0"):
        compiler.compile(SOURCE, "t.noodle", target_versions={"lexer": "7.0.0"})
    with pytest.raises(PhaseFailedError, match="no phase 'linker'"):
        compiler.compile(SOURCE, "t.noodle", target_versions={"linker": "1.0.0"})


def test_where_other_versions_may_not_be_asked_for_that_is_an_error():
    strict = Compiler()
    strict.version_aware = False
    with pytest.raises(InvalidRequestError, match="may not be asked for"):
        strict.compile(SOURCE, "t.noodle", target_versions={"lexer": "1.1.0"})


def test_a_set_tells_its_versions(phases):
    assert isinstance(phases, PhaseSet)
    assert phases.versions == dict.fromkeys(PHASES, "1.0.0")
    assert phases.key != phases.having(another(phases, "lexer")).key


# --- what is more than can be compiled -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("let x = 1;\n" + "x" + ".y" * 401 + ";", "parser.long"),
        ("let x = 1;\nif x { }" + " else if x { }" * 1200, "parser.long"),
        ("match 1 {" + "case 1 { }" * 1200 + "}", "parser.long"),
        ("def f() { " + "for a in [1] { " * 21 + "}" * 21 + "}", None),
        ("let x = 1;\nlet y = " + "(" * 3 + "x" + (" + x" * 390 + ")") * 3 + ";", "parser.deep"),
        ("# " + "x" * (1 << 20), "lexer.size"),
        ('print("\\ud800");', "lexer.escape"),
    ],
)
def test_what_is_too_much_is_an_error_of_the_source_and_no_fault_of_a_version(compiler, source, code):
    result = compiler.compile(source, "t.noodle", targets=("python", "nbc"))
    codes = {error.code for error in result.errors}
    assert "compiler.phase" not in codes
    assert not result.success
    if code:
        assert codes == {code}


def test_a_format_is_not_carried_out_beforehand(compiler):
    assert compiler.compile('let x = "%999999999999d" % 1;', "t.noodle").success


def test_functions_may_be_called_as_methods_are(compiler, tmp_path):
    made = compiler.compile("def init(x) { return x; }\ndef to_string(x) { return x + 1; }\n", "m.noodle")
    space: dict = {}
    exec(made.bytecode, space)
    assert (space["__init__"](1), space["__str__"](1)) == (1, 2)
