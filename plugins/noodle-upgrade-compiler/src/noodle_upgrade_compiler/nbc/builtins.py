"""What a program on the stack machine can reach: the built-in functions, and the methods of built-in types.

Everything is listed. A member that is not in these tables does not exist there, whatever Python has under its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from noodle_upgrade_compiler.support import error

__all__ = ["BUILTINS", "METHODS", "MODULES"]

BUILTINS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "abs": abs, "all": all, "any": any, "bool": bool, "chr": chr, "enumerate": enumerate, "error": error,
        "filter": filter, "float": float, "gather": asyncio.gather, "input": input, "int": int, "is_a": isinstance,
        "len": len, "list": list, "map": map, "max": max, "min": min, "object": dict, "ord": ord, "print": print,
        "range": range, "repr": repr, "reversed": reversed, "round": round, "run": asyncio.run,
        "sleep": asyncio.sleep, "sorted": sorted, "str": str, "sum": sum, "zip": zip,
    }
)  # fmt: skip

METHODS: Mapping[type, frozenset[str]] = MappingProxyType(
    {
        str: frozenset(
            "capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii isdecimal isdigit"
            " islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip partition removeprefix"
            " removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip"
            " swapcase title upper zfill".split()
        ),
        list: frozenset("append clear copy count extend index insert pop remove reverse sort".split()),
        dict: frozenset("clear copy get items keys pop popitem setdefault update values".split()),
        int: frozenset({"bit_count", "bit_length"}),
        float: frozenset({"is_integer"}),
        tuple: frozenset({"count", "index"}),
        range: frozenset({"count", "index"}),
    }
)
MODULES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "math": frozenset(
            "acos asin atan atan2 ceil copysign cos cosh degrees dist e exp fabs factorial floor fmod gcd hypot inf"
            " isclose isfinite isinf isnan isqrt lcm log log10 log1p log2 nan pi pow prod radians sin sinh sqrt tan"
            " tanh tau trunc".split()
        ),
    }
)
"""Modules of Python's that may be imported, and what of them."""
