"""How the code of a private space pickles; executed once more for each space and module that pickles, which is `real`.

C code looks a class's module up, and imports it, as the code would that calls it: that has to be none of the package's,
which knows modules by public names, and has to import as the space does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Pickler", "dump", "dumps"]

if TYPE_CHECKING or "real" not in globals():
    import pickle as real


class Pickler(real.Pickler):
    """The pickler of the module that it stands for."""

    def dump(self, obj: Any, /) -> None:
        """Write an object."""
        super().dump(obj)


Pickler.__module__, Pickler.__qualname__ = real.Pickler.__module__, real.Pickler.__qualname__


def dump(*args: Any, **options: Any) -> None:
    """Write an object, as `pickle.dump` does."""
    real.dump(*args, **options)


def dumps(*args: Any, **options: Any) -> bytes:
    """Return an object as bytes, as `pickle.dumps` does."""
    return real.dumps(*args, **options)
