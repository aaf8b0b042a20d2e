"""The hook `recompile`: what was compiled here, built by the versions that are staged."""

from __future__ import annotations

from noodle_upgrade_compiler.artifacts import digest_of
from noodle_upgrade_compiler.compiler import Compiler
from noodle_upgrade_compiler.engine import staged_key
from noodle_upgrade_compiler.recompiling import recompile
from noodle_upgrade_core import ArtifactRef, UpgradeContext, UpgradePlan

__all__ = ["rebuilt"]


def rebuilt(plan: UpgradePlan, context: UpgradeContext, compiler: Compiler) -> tuple[ArtifactRef, ...]:
    """Build the files that the phases of a plan affect; returns what was built, as one artefact.

    Raises `CompilationError` when one of them cannot be compiled any more.
    """
    versions = {step.name: step.to_version for step in plan.steps if step.verdict.engine == "phases"}
    changed = compiler.staged.get(staged_key(versions))
    store = compiler.store
    if not versions or changed is None or store is None or store.path is None:
        return ()

    def progress(done: int, total: int) -> None:
        data = {"done": done, "all": total, "versions": versions}
        context.emit("compiler.recompiling", message=f"{done} of {total} files compiled", data=data)

    done = recompile(changed, compiler.current, store, progress=progress, cancelled=context.cancelled)
    if done.is_everything:
        context.emit("compiler.affects_more", message=done.why, data={"versions": versions})
    if not done.affected:
        return ()
    known = store.files()
    sources = [known[path].source for path in done.affected if path in known]
    names = "+".join(sorted(versions))
    return (
        ArtifactRef(
            name=f"{names} outputs",
            version="+".join(versions[name] for name in sorted(versions)),
            digest=digest_of(changed.key.encode(), *sources).hex(),
            kind="outputs",
            size=len(done.affected),
            tree="",
            source=f"recompile of {len(done.affected)} files",
        ),
    )
