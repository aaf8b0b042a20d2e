"""Every example of the documents is carried out as it is written, and every link leads somewhere."""

import contextlib
import http.client
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from documents import DOCUMENTS, ROOT, anchors, blocks, links, name_of
from programs import environment
from reader import LIMIT, Reader

from noodle_upgrade_compiler.settings import CompilerSettings
from noodle_upgrade_core import Phase, load_settings
from noodle_upgrade_deployment.settings import DeploymentSettings
from noodle_upgrade_runtime.settings import RuntimeSettings

TUTORIAL = ROOT / "docs" / "tutorial" / "first-upgrade.md"
CAREFUL = ROOT / "docs" / "how-to" / "careful-strategy" / "README.md"
PICTURES = ROOT / "docs" / "pictures"
SERVICE = "docs/tutorial/demo/service.py"

SECTIONS = {"runtime": RuntimeSettings, "compiler": CompilerSettings, "deployment": DeploymentSettings}

NOT_HERE = {
    "python3 -m pip install nox && python3 -m nox -s demo": "minutes, and the demo has a session of its own",
    "python3 -m pip install nox && python3 -m nox -s tests": "these very tests",
}
"""Commands that are not given, and why."""

NOT_FOLLOWED = {
    "plugins/noodle-upgrade-cli/README.md": "the commands of README.md",
    "plugins/noodle-upgrade-server/README.md": "the commands of README.md",
}
"""Pages with commands that nobody types here, and why."""

HOW_TOS = sorted(page for page in (ROOT / "docs" / "how-to").glob("*.md") if blocks(page, "console"))
FOLLOWED = [ROOT / "README.md", TUTORIAL, *HOW_TOS, CAREFUL]


# --- pages that are followed -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory, ours):
    """The folder of the tutorial, with the environment that its first commands make."""
    folder = tmp_path_factory.mktemp("home")
    with Reader(folder, folder, ours) as reader:
        first, *_ = blocks(TUTORIAL, "console")
        for command, expected in first.commands:
            reader.type(command, expected, where=first)
    return folder


@pytest.fixture
def reader(tmp_path, home, ours):
    """A reader with that environment, who leaves nothing installed in it."""
    with Reader(tmp_path / "work", home, ours) as made:
        made.folder.mkdir()
        made.take(SERVICE)
        before = installed(made)
        yield made
    if more := installed(made) - before:
        made.type(f"pip uninstall --yes --quiet {' '.join(sorted(more))}")


def installed(reader):
    rows = reader.type("pip list --format=freeze").split()
    return {row.partition("==")[0] for row in rows if "==" in row}


@pytest.mark.network
def test_the_tutorial_can_be_followed_to_its_end(home, ours):
    with Reader(home, home, ours) as reader:
        reader.take(SERVICE)
        first, *_ = blocks(TUTORIAL, "console")
        reader.read(TUTORIAL, skip={command for command, _ in first.commands})


@pytest.mark.network
@pytest.mark.parametrize("page", [page for page in FOLLOWED if page not in {TUTORIAL, CAREFUL}], ids=name_of)
def test_a_page_can_be_followed_to_its_end(reader, page):
    reader.read(page, skip=NOT_HERE)


@pytest.mark.network
def test_the_page_about_a_strategy_can_be_followed_beside_a_program_with_traffic(reader):
    shutil.copytree(CAREFUL.parent, reader.folder, dirs_exist_ok=True)
    *install, upgrade = [command for block in blocks(CAREFUL, "console") for command in block.commands]
    for command, expected in install:
        reader.type(command, expected, where=name_of(CAREFUL))
    reader.type("noodle run service:app --port 8000")
    with traffic(reader.ports["8000"]):
        reader.type(*upgrade, where=name_of(CAREFUL))
    assert "3.0.0" in reader.type("noodle components | grep markdown-it-py")


@contextlib.contextmanager
def traffic(port, clients=6):
    """Clients that render Markdown."""
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("POST", "/", "# hi")
                connection.getresponse().read()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(40)


def test_every_page_with_commands_is_followed_or_says_why_not():
    with_commands = {name_of(page) for page in DOCUMENTS if blocks(page, "console")}
    assert with_commands == {name_of(page) for page in FOLLOWED} | NOT_FOLLOWED.keys()
    given = {command for page in FOLLOWED for block in blocks(page, "console") for command, _ in block.commands}
    assert NOT_HERE.keys() <= given, "an exception for what no page says any more"


# --- examples of Python and of settings --------------------------------------------------------------------------

USES = "import markdown_it\n"
PROGRAM = """
from noodle_upgrade_core import Upgrader
from noodle_upgrade_server import serve
from pathlib import Path

def run_my_program():
    assert Path(".noodle/control.sock").is_socket()
    return idle()

async def idle():
    pass
"""
EVERYTHING = "from noodle_upgrade_core import *\nfrom noodle_upgrade_core.testing import *\n"
HEAVY = "import rich\nfrom noodle_upgrade_core import hookimpl\nclass Plugin:\n @hookimpl\n def observe(self): pass\n"

DEPLOYED = """
from noodle_upgrade_runtime import handle

for version in ("1.0", "1.1"):
    folder = pathlib.Path("runtime_components/greeter", version)
    folder.mkdir(parents=True)
    (folder / "greeter.py").write_text("class Greeter:\\n    def greet(self):\\n        return 1\\n")
    (folder / "component.toml").write_text('entry_point = "greeter:Greeter"\\n')
    if version == "1.0":
        given = {
            "runtime_upgrade.approval.automatic": True,
            "deployment.policies": {"production": {"upgrade_strategy": "immediate", "health_check_required": False}},
        }
        opened = Upgrader.open(load_settings([], environ={}, overrides=given))
        upgrader = await opened.__aenter__()
        greeter = handle("greeter")
"""

NBC = """
from noodle_upgrade_compiler import process_compiler
from pathlib import Path

made = process_compiler().compile("print(6 * 7);", "app.noodle", targets=("nbc",))
Path("build").mkdir()
Path("build/app.nbc").write_bytes(made.nbc_bytecode)
"""

CONTEXTS = {
    "README.md": [(USES, "assert result.success\nassert markdown_it.__version__ == '2.2.0'")],
    "docs/reference/nbc.md": [(NBC, "")],
    "plugins/noodle-upgrade-compiler/README.md": [("", "assert result.success")],
    "docs/explanation/how-the-swap-works.md": [("", "assert renderer.render('# hi') == '<h1>hi</h1>\\n'")],
    "docs/how-to/embed.md": [
        (
            "from noodle_upgrade_core import BlockingUpgrader\n"
            "opened = BlockingUpgrader.open()\nupgrader = opened.__enter__()\napp = served = object()\n",
            "assert app is not served and callable(app)\nopened.__exit__(None, None, None)",
        )
    ],
    "docs/how-to/careful-strategy/README.md": [
        (EVERYTHING, "check_strategy(Fifths)\ncheck_strategy(ThenAWhile)"),
        (
            f"{EVERYTHING}from noodle_upgrade_core.errors import InvalidRequestError\n"
            "from noodle_upgrade_core.strategies import watched\n",
            "check_strategy(OneByOne)",
        ),
        (EVERYTHING, "check_strategy(Asked)"),
    ],
    "docs/reference/hooks.md": [
        (
            EVERYTHING,
            "from datetime import datetime\n"
            "friday, monday = (sample_plan(created_at=datetime(2026, 11, day)) for day in (27, 30))\n"
            "assert [len(list(NoFridays().validate(plan, 'before'))) for plan in (friday, monday)] == [1, 0]",
        )
    ],
    "docs/reference/steps.md": [(EVERYTHING, "check_strategy(Careful)")],
    "docs/reference/testing.md": [
        (
            f"import pathlib, sys\nsys.path.insert(0, '.')\npathlib.Path('acme_upgrades.py').write_text({HEAVY!r})\n",
            "import pytest\npathlib.Path('test_it.py').write_text(open(__file__).read())\n"
            "assert pytest.main(['-q', '-p', 'no:cacheprovider', 'test_it.py::test_conformance']) == 0"
            " if __name__ == '__main__' else True",
        )
    ],
    "plugins/noodle-upgrade-cli/README.md": [
        (
            "import click\n",
            "from noodle_upgrade_cli.options import share_options\nshare_options(report)\n"
            "assert {'--json', '--state', '--url'} <= {word for one in report.params for word in one.opts}",
        )
    ],
    "plugins/noodle-upgrade-deployment/README.md": [
        (
            f"{EVERYTHING}import sys, pathlib\n{DEPLOYED}",
            "assert state.stage == 'succeeded', state.why\nawait opened.__aexit__(None, None, None)",
        )
    ],
    "plugins/noodle-upgrade-runtime/README.md": [
        ("", "assert renderer.render('# hi') == '<h1>hi</h1>\\n'"),
        ("", "assert MIGRATIONS['1.0', '1.1']({'total': 1}) == {'total': 1, 'calls': 0}"),
        ("", "assert len({renderer.render('# hi') for renderer in renderers}) == 1"),
    ],
    "plugins/noodle-upgrade-server/README.md": [(PROGRAM, ""), (PROGRAM, "")],
}
"""What stands before and after an example that is no file: the program that it is a part of, and what it has to do."""

EXAMPLES = [
    pytest.param(block, number, id=str(block))
    for page in DOCUMENTS
    for number, block in enumerate(one for one in blocks(page, "python") if not one.file)
]
RUN = """
import ast, asyncio, inspect, sys
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
running = eval(code, {"__name__": "__main__", "__file__": sys.argv[1]})
if inspect.iscoroutine(running):
    asyncio.run(running)
"""


@pytest.mark.network
@pytest.mark.parametrize(("block", "number"), EXAMPLES)
def test_an_example_of_python_does_what_is_said_of_it(block, number, tmp_path):
    before, after = CONTEXTS[block.document][number]
    (tmp_path / "example.py").write_text(f"{before}{block.text}\n{after}\n")
    ran = subprocess.run(
        ["bash", "-c", f'{LIMIT}; exec "$@"', "bash", sys.executable, "-c", RUN, "example.py"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, f"{block}\n{ran.stdout}{ran.stderr}"


def test_every_example_that_is_a_file_is_saved_by_a_reader():
    pages = {block.document for page in DOCUMENTS for block in blocks(page, "python", "toml") if block.file}
    assert pages <= {name_of(page) for page in FOLLOWED}


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if blocks(page, "toml")], ids=name_of)
def test_examples_of_toml_can_be_read_and_settings_among_them_are_settings(page, tmp_path):
    for number, block in enumerate(blocks(page, "toml")):
        names = tomllib.loads(block.text).keys()
        if names <= {"stack", "runtime_upgrade", *SECTIONS} and "typo" not in block.file:
            file = tmp_path / f"{number}.toml"
            file.write_text(block.text)
            assert load_settings([file], environ={}, sections=SECTIONS).problems() == (), block


# --- pictures ----------------------------------------------------------------------------------------------------


def test_the_pictures_are_as_they_are_drawn():
    words = [sys.executable, str(PICTURES / "draw.py"), "--check"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_picture_of_an_upgrade_shows_every_phase():
    shown = set(re.findall(r">([A-Z_]+)</text>", (PICTURES / "states.svg").read_text()))
    assert shown == {phase.name for phase in Phase}


# --- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if links(page)], ids=name_of)
def test_every_link_leads_somewhere(page):
    lost = []
    for link in links(page):
        if "://" in link.target:
            continue
        path, _, anchor = link.target.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(f"{link.document}:{link.line} {link.target}")
    assert lost == []
