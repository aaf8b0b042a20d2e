"""A strategy of our own: small shares first, and never past one that was not shown to be safe."""

from attrs import frozen

from noodle_upgrade_core import Judge, Revert, Shift

__all__ = ["Careful"]


@frozen(kw_only=True)
class Careful:
    """5 %, 25 %, everything; each share has `bake` seconds to show that it is safe."""

    bake: float = 60.0

    def rollout(self, plan):
        """Raise the share as long as the judge says safe; go back otherwise."""
        for weight in (0.05, 0.25, 1.0):
            yield Shift(weight)
            seen = yield Judge(until="safe", budget=self.bake)
            if not seen.safe:
                yield Revert(seen.reasons or ("not shown to be safe in time",))
                return
