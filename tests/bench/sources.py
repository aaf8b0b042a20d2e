"""Programs to compile: the same one in Noodle and in Python, dense, of any length."""

from __future__ import annotations

__all__ = ["both", "plain_program", "small_file"]

_UNIT = """
class Account_{k} {{
    let limit = {k};
    def init(self, owner, balance) {{
        self.owner = owner;
        self.balance = balance;
        self.entries = [];
    }}
    def deposit(self, amount) {{
        if amount <= 0 || amount > self.limit * 1000 {{
            return false;
        }}
        self.balance = self.balance + amount;
        self.entries.append({{"kind": "deposit", "amount": amount, "after": self.balance}});
        return true;
    }}
}}
def collatz_{k}(start, most) {{
    let steps = 0;
    let value = start;
    while value != 1 && steps < most {{
        if value % 2 == 0 {{
            value = value / 2;
        }} else {{
            value = value * 3 + 1;
        }}
        steps = steps + 1;
    }}
    return steps;
}}
def table_{k}(rows, columns) {{
    let made = [];
    for row in range(rows) {{
        let line = [];
        for column in range(columns) {{
            line.append((row + {k}) * (column - 1) % 97);
        }}
        made.append(line);
    }}
    return sum(made[0]) + max(made[rows - 1]) - len(made) * {m};
}}
let account_{k} = Account_{k}("owner {k}", {k} * 10 + 2.5);
let total_{k} = collatz_{k}({k} + 7, 100) + table_{k}(3, 4) + account_{k}.balance;
if !account_{k}.deposit({k} + 1) && total_{k} > 0 {{ print("refused", account_{k}.owner, total_{k}); }}
"""
_SAME = """
class Account_{k}:
    limit = {k}
    def __init__(self, owner, balance):
        self.owner = owner
        self.balance = balance
        self.entries = []

    def deposit(self, amount):
        if amount <= 0 or amount > self.limit * 1000:
            return False

        self.balance = self.balance + amount
        self.entries.append({{"kind": "deposit", "amount": amount, "after": self.balance}})
        return True


def collatz_{k}(start, most):
    steps = 0
    value = start
    while value != 1 and steps < most:
        if value % 2 == 0:
            value = value / 2
        else:
            value = value * 3 + 1

        steps = steps + 1

    return steps

def table_{k}(rows, columns):
    made = []
    for row in range(rows):
        line = []
        for column in range(columns):
            line.append((row + {k}) * (column - 1) % 97)

        made.append(line)

    return sum(made[0]) + max(made[rows - 1]) - len(made) * {m}

account_{k} = Account_{k}("owner {k}", {k} * 10 + 2.5)
total_{k} = collatz_{k}({k} + 7, 100) + table_{k}(3, 4) + account_{k}.balance
if not account_{k}.deposit({k} + 1) and total_{k} > 0: print("refused", account_{k}.owner, total_{k})
"""
LINES = _UNIT.count("\n")


def both(lines: int) -> tuple[str, str]:
    """Return a program of about so many lines in Noodle, and the same one in Python, line for line."""
    numbers = range(max(1, lines // LINES))
    noodle = "".join(_UNIT.format(k=k, m=k % 7 + 1) for k in numbers)
    python = "".join(_SAME.format(k=k, m=k % 7 + 1) for k in numbers)
    assert noodle.count("\n") == python.count("\n")
    return noodle, python


def small_file(number: int, count: int, *, with_match: bool) -> str:
    """Return one of many small files, which imports the next one."""
    body = "match a {{ case 1, 2 {{ return {n}; }} default {{ return 0; }} }}" if with_match else "return a * {n};"
    return f'import "part{(number + 1) % count % 100}/f{(number + 1) % count}" as other;\nlet x = {number};\n' + (
        "def f(a) {{ " + body + " }}\n"
    ).format(n=number)


def plain_program() -> tuple[str, str]:
    """Return a program that computes for a while, in Noodle and in Python; each leaves what it found in `result`."""
    noodle = """
def primes(most) {
    let found = [];
    let n = 2;
    while len(found) < most {
        let is_prime = true;
        for p in found {
            if p * p > n { break; }
            if n % p == 0 { is_prime = false; break; }
        }
        if is_prime { found.append(n); }
        n = n + 1;
    }
    return found;
}
def matrix(size) {
    let rows = [];
    for i in range(size) {
        let row = [];
        for j in range(size) { row.append((i + 1) * (j + 2) % 17); }
        rows.append(row);
    }
    let total = 0;
    for i in range(size) {
        for j in range(size) {
            let sum = 0;
            for k in range(size) { sum = sum + rows[i][k] * rows[k][j]; }
            total = total + sum;
        }
    }
    return total;
}
class Counter {
    def init(self) { self.words = {}; }
    def add(self, word) { self.words[word] = self.words.get(word, 0) + 1; return self; }
}
def counted(times) {
    let counter = Counter();
    for n in range(times) { counter.add("w" + str(n % 50)); }
    return len(counter.words);
}
let result = [primes(1500)[1499], matrix(40), counted(20000)];
"""
    python = """
def primes(most):
    found = []
    n = 2
    while len(found) < most:
        is_prime = True
        for p in found:
            if p * p > n:
                break
            if n % p == 0:
                is_prime = False
                break
        if is_prime:
            found.append(n)
        n = n + 1
    return found
def matrix(size):
    rows = []
    for i in range(size):
        row = []
        for j in range(size):
            row.append((i + 1) * (j + 2) % 17)
        rows.append(row)
    total = 0
    for i in range(size):
        for j in range(size):
            sum = 0
            for k in range(size):
                sum = sum + rows[i][k] * rows[k][j]
            total = total + sum
    return total
class Counter:
    def __init__(self):
        self.words = {}
    def add(self, word):
        self.words[word] = self.words.get(word, 0) + 1
        return self
def counted(times):
    counter = Counter()
    for n in range(times):
        counter.add("w" + str(n % 50))
    return len(counter.words)
result = [primes(1500)[1499], matrix(40), counted(20000)]
"""
    return noodle, python
