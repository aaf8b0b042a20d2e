import contextlib
import sys
import tempfile
from pathlib import Path

from attrs import frozen

from noodle_upgrade_core.model import (
    ArtifactRef,
    ComponentDescriptor,
    PlanStep,
    UpgradePlan,
    UpgradeRequest,
    Verdict,
)
from noodle_upgrade_core.testing import parametrize_with_checks
from noodle_upgrade_runtime import handle
from noodle_upgrade_runtime.handles import process_handles
from noodle_upgrade_runtime.plugin import RuntimePlugin
from noodle_upgrade_runtime.settings import RuntimeSettings

SOURCE = "__version__ = {0!r}\nclass Service:\n    def who(self): return __version__\n"


@frozen
class World:
    """A service behind a handle, in two versions."""

    plugin: type
    plan: UpgradePlan
    service: object

    def state(self):
        return self.service.who(), sorted(vars(self.service))


@contextlib.contextmanager
def world():
    path, modules = list(sys.path), set(sys.modules)
    with tempfile.TemporaryDirectory() as folder:
        for version in ("1.0", "2.0"):
            tree = Path(folder, version)
            info = tree / f"conforming_fable-{version}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: conforming-fable\nVersion: {version}\n")
            (info / "top_level.txt").write_text("conforming_fable\n")
            (tree / "conforming_fable.py").write_text(SOURCE.format(version))
        sys.path.insert(0, str(Path(folder, "1.0")))
        artifact = ArtifactRef(
            name="conforming-fable",
            version="2.0",
            digest="0" * 64,
            kind="tree",
            size=1,
            tree=str(Path(folder, "2.0")),
            top_levels=("conforming_fable",),
        )
        step = PlanStep(
            component=ComponentDescriptor(name="conforming-fable", version="1.0"),
            from_version="1.0",
            to_version="2.0",
            path=("1.0", "2.0"),
            artifacts=(artifact,),
            verdict=Verdict(feasible=False, mechanism="none"),
        )
        asked = UpgradeRequest(component_name="conforming-fable", target_version="2.0")
        plan = UpgradePlan(requests=(asked,), steps=(step,))
        try:
            yield World(RuntimePlugin, plan, handle("conforming-fable", "conforming_fable:Service"))
        finally:
            sys.path[:] = path
            process_handles()._held.clear()
            for name in set(sys.modules) - modules:
                if name.startswith("conforming_fable"):
                    del sys.modules[name]


@parametrize_with_checks(RuntimePlugin, scenario=world, settings=RuntimeSettings(rehearsal=False))
def test_conformance(check, announced):
    check()
