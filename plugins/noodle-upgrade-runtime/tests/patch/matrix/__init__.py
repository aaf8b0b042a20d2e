"""What each kind of reference sees: small cases, to be read and to be run. `page.py` writes them down as a page."""

from matrix import (
    becoming,
    callbacks,
    classes,
    closures,
    copies,
    data,
    descriptors,
    enums,
    errors,
    functions,
    instances,
    modules,
    slots,
    subclasses,
    suspended,
    typed,
)
from matrix.probing import Group, Probe

__all__ = ["GROUPS", "Group", "Probe"]

GROUPS: list[Group] = [
    each.GROUP
    for each in (
        functions,
        becoming,
        closures,
        classes,
        subclasses,
        instances,
        copies,
        descriptors,
        slots,
        data,
        enums,
        typed,
        modules,
        suspended,
        callbacks,
        errors,
    )
]
