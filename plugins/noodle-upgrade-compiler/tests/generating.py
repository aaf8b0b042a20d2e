"""Programs at random: right ones, that end, and print what they find; any two targets have to print the same."""

from __future__ import annotations

import random

__all__ = ["program"]

# What a walk over a tree could take for something else: kinds of nodes, names of Python's, names of members.
_WORDS = (
    "a b c total name const binary compare assign call member index expression object field type_ parameter lambda"
    " del None_ self_ init to_string except is_ async_ _x _less _more error_ sum_ list_ P kind"
).split()


class _Writer:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.known: list[list[str]] = [[]]
        self.functions: list[tuple[str, int]] = []
        self.count = 0
        self.loops = 0

    # --- names ---------------------------------------------------------------------------------------------------

    def fresh(self) -> str:
        word = self.random.choice(_WORDS)
        taken = {name for scope in self.known for name in scope} | {name for name, _ in self.functions}
        while word in taken:
            self.count += 1
            word = f"{self.random.choice(_WORDS)}{self.count}"
        return word

    def names(self) -> list[str]:
        return [name for scope in self.known for name in scope]

    # --- expressions: whole numbers all of them, so that every operator fits --------------------------------------

    def number(self, depth: int = 3) -> str:  # noqa: PLR0911 - one for each kind
        choice = self.random.random()
        names = self.names()
        if depth <= 0 or choice < 0.25:
            if names and self.random.random() < 0.6:
                return self.random.choice(names)
            return str(self.random.choice([0, 1, 2, 3, 7, 10, 97, -1, -5]))
        if choice < 0.6:
            sign = self.random.choice("+-*+-%")
            right = self.number(depth - 1)
            if sign == "%":
                right = str(self.random.choice([2, 3, 7, -4]))
            return self.bracketed(f"{self.number(depth - 1)} {sign} {right}")
        if choice < 0.68:
            return f"-({self.number(depth - 1)})"
        if choice < 0.76 and self.functions:
            name, count = self.random.choice(self.functions)
            return f"{name}({', '.join(self.number(depth - 2) for _ in range(count))})"
        if choice < 0.84:
            of = self.random.choice(["abs", "int", "len", "sum", "max"])
            inside = self.number(depth - 1)
            return f"{of}({inside})" if of in ("abs", "int") else f"{of}([{inside}, {self.number(depth - 1)}])"
        if choice < 0.9:
            return f"[{self.number(depth - 1)}, {self.number(depth - 1)}][{self.random.choice([0, 1, -1])}]"
        if choice < 0.95:
            return f"({self.number(depth - 1)}).bit_length()"
        key = self.random.choice("km")
        return f'{{k: {self.number(depth - 1)}, m: 2}}.get("{key}")'

    def bracketed(self, text: str) -> str:
        return f"({text})" if self.random.random() < 0.5 else text

    def test(self, depth: int = 2) -> str:
        choice = self.random.random()
        if depth <= 0 or choice < 0.6:
            sign = self.random.choice(["==", "!=", "<", "<=", ">", ">="])
            return f"({self.number(1)}) {sign} ({self.number(1)})"
        if choice < 0.8:
            return f"{self.test(depth - 1)} {self.random.choice(['&&', '||'])} {self.test(depth - 1)}"
        return f"!({self.test(depth - 1)})" if choice < 0.95 else self.random.choice(["true", "false"])

    # --- statements ----------------------------------------------------------------------------------------------

    def put(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def body(self, indent: int, size: int, *, inside: bool) -> None:
        self.known.append([])
        for _ in range(size):
            self.statement(indent, inside=inside)
        self.known.pop()

    def statement(self, indent: int, *, inside: bool) -> None:
        choice = self.random.random()
        names = self.names()
        if choice < 0.3 or not names:
            name = self.fresh()
            self.put(indent, f"let {name} = {self.number()};")
            self.known[-1].append(name)
        elif choice < 0.45:
            self.put(indent, f"print({self.number()}, {self.test()});")
        elif choice < 0.58:
            self.put(indent, f"{self.random.choice(self.known[-1] or names)} = {self.number()};")
        elif choice < 0.68 and indent < 4:
            self.put(indent, f"if {self.test()} {{")
            self.body(indent + 1, 2, inside=inside)
            if self.random.random() < 0.6:
                self.put(indent, "} else {")
                self.body(indent + 1, 1, inside=inside)
            self.put(indent, "}")
        elif choice < 0.76 and indent < 3 and self.loops < 2:
            self.loops += 1
            name = self.fresh()
            self.put(indent, f"for {name} in range({self.random.randrange(4)}) {{")
            self.known.append([name])
            self.body(indent + 1, 2, inside=inside)
            self.known.pop()
            if self.random.random() < 0.3:
                self.put(indent + 1, f"if {self.test(1)} {{ {self.random.choice(['break', 'continue'])}; }}")
            self.put(indent, "}")
            self.loops -= 1
        elif choice < 0.84 and indent < 3:
            self.put(indent, f"match {self.number(2)} {{")
            for value in (0, 1):
                self.put(indent + 1, f"case {value}, {self.random.choice([-3, 5, 9])} {{")
                self.body(indent + 2, 1, inside=inside)
                self.put(indent + 1, "}")
            self.put(indent + 1, "default {")
            self.body(indent + 2, 1, inside=inside)
            self.put(indent + 1, "}")
            self.put(indent, "}")
        elif choice < 0.9 and inside:
            self.put(indent, f"if {self.test(1)} {{ return {self.number()}; }}")
        elif indent < 2:
            self.function(indent)
        else:
            self.put(indent, f"print({self.number(1)});")

    def function(self, indent: int) -> None:
        name = self.fresh()
        count = self.random.randrange(3)
        # It may be called from now on, and not inside of itself: it has to end.
        parameters: list[str] = []
        self.known.append(parameters)
        for _ in range(count):
            # Each is known to the next one.
            parameters.append(self.fresh())  # noqa: PERF401
        known = list(self.functions)
        self.put(indent, f"def {name}({', '.join(parameters)}) {{")
        if self.random.random() < 0.5:
            loops, self.loops = self.loops, 0
            self.body(indent + 1, self.random.randrange(1, 4), inside=True)
            self.loops = loops
        self.put(indent + 1, f"return {self.number()};")
        self.put(indent, "}")
        self.known.pop()
        self.functions = known
        if indent == 0:
            self.functions.append((name, count))
        else:
            self.known[-1].append(name)
            self.put(indent, f"{name} = 1;")


def program(seed: int, size: int = 14) -> str:
    """Return the program of a seed; `size` is how many statements it has at its top level."""
    writer = _Writer(seed)
    for _ in range(size):
        writer.statement(0, inside=False)
    writer.put(0, f"print({writer.number()});")
    return "\n".join(writer.lines) + "\n"
