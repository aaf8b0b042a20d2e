import importlib
import importlib.metadata
import sys

from noodle_upgrade_core.hookspecs import ActiveVersion
from noodle_upgrade_core.model import ArtifactRef, Severity
from noodle_upgrade_runtime.operations import Script
from noodle_upgrade_runtime.overlay import Overlay


def active(version, tree):
    artifact = ArtifactRef(name="fable", version=version, digest="0" * 64, kind="tree", size=1, tree=tree)
    return ActiveVersion(component_name="Fable", version=version, artifact=artifact)


def test_a_version_whose_files_are_gone_is_a_finding_and_the_environment_is_used(fable):
    fable.run("1.0")
    fable.write("1.0")
    overlay, path = Overlay(fable.folder), list(sys.path)
    (finding,) = overlay.activate([active("2.0", "2.0")])
    assert (finding.severity, finding.code, finding.subject) == (Severity.ERROR, "restore.missing", "Fable")
    assert sys.path == path


def test_imports_and_metadata_see_the_active_version(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(version)
    overlay = Overlay(fable.folder)
    assert overlay.activate([active("2.0", "2.0")]) == ()
    assert importlib.import_module("fable").__version__ == "2.0"
    assert importlib.metadata.version("fable") == "2.0"
    assert overlay.tree_of("FABLE") == fable.folder / "2.0"


def test_a_component_without_an_artefact_stays_with_the_environment(fable):
    overlay, path = Overlay(fable.folder), list(sys.path)
    assert overlay.activate([ActiveVersion(component_name="fable", version="1.0")]) == ()
    assert sys.path == path


def test_activating_twice_leaves_one_entry(fable):
    fable.write("2.0")
    overlay = Overlay(fable.folder)
    overlay.activate([active("2.0", "2.0")])
    overlay.activate([active("2.0", "2.0")])
    assert sys.path.count(str(fable.folder / "2.0")) == 1


def test_a_live_change_and_its_inverse_leave_no_difference(fable):
    for version in ("2.0", "3.0"):
        fable.write(version)
    overlay = Overlay(fable.folder)
    for placed in (None, "2.0"):
        if placed:
            overlay.activate([active(placed, placed)])
        path, tree = list(sys.path), overlay.tree_of("fable")
        script = Script(overlay.operations("fable", fable.folder / "3.0"))
        script.apply()
        assert sys.path[0] == str(fable.folder / "3.0")
        assert sum(str(fable.folder) in entry for entry in sys.path) == 1
        assert overlay.tree_of("fable") == fable.folder / "3.0"
        script.revert()
        assert (sys.path, overlay.tree_of("fable")) == (path, tree)


def test_an_entry_that_somebody_else_adds_meanwhile_survives_the_undo(fable):
    fable.write("3.0")
    script = Script(Overlay(fable.folder).operations("fable", fable.folder / "3.0"))
    script.apply()
    sys.path.insert(0, "/somebody/elses")
    script.revert()
    assert sys.path[0] == "/somebody/elses"
    assert str(fable.folder / "3.0") not in sys.path


def test_a_second_upgrader_of_one_process_takes_over_the_entry_of_the_first(fable):
    fable.write("2.0")
    for _ in range(2):
        Overlay(fable.folder).activate([active("2.0", "2.0")])
    assert sys.path.count(str(fable.folder / "2.0")) == 1
