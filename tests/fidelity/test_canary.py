"""What a version is taken to answer: only what it says whoever was asked before."""

from __future__ import annotations

import types
from collections.abc import Callable

from fidelity.inside.canary import answers
from fidelity.inside.modules import Symbol, public_symbols

Package = Callable[..., types.ModuleType]

# As URL libraries do it: what one function registers changes what another one says.
SCHEMES = """
_known = set()
def a_length_of(text): return len(text)
def register(text): _known.add(text)
def uses(text): return text in _known
"""


def test_what_one_function_has_registered_for_another_is_no_answer_in_one_of_the_two_orders(package: Package) -> None:
    def said(*, backwards: bool) -> set[str]:
        package_now = package(__init__=SCHEMES)
        package_now._known.clear()
        found: list[Symbol] = list(public_symbols({"gizmo": package_now}, ["gizmo"]))
        return set(answers(found, backwards=backwards))

    assert {"gizmo:a_length_of"} <= said(backwards=False) & said(backwards=True)
    assert "gizmo:uses" in said(backwards=False) ^ said(backwards=True)
