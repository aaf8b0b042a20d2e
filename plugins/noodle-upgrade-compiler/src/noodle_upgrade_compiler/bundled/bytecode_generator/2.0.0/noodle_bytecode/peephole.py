"""Fewer instructions of the stack machine: no jumps to jumps, none to where they stand, nothing that nobody reaches."""

from __future__ import annotations

from typing import Any

__all__ = ["shortened"]

Instruction = tuple[str, int]
Position = tuple[int, int, int]

_JUMPS = frozenset("JUMP JUMP_IF_FALSE JUMP_IF_TRUE JUMP_IF_FALSE_OR_POP JUMP_IF_TRUE_OR_POP NEXT".split())
_LAST = frozenset({"JUMP", "RETURN"})


def shortened(
    instructions: tuple[Instruction, ...], positions: tuple[Position, ...]
) -> tuple[tuple[Instruction, ...], tuple[Position, ...]]:
    """Return instructions that do the same, and where they come from."""
    while True:
        threaded = tuple(_threaded(instructions, one) for one in instructions)
        kept = _reached(threaded)
        kept -= {index for index in kept if threaded[index] == ("JUMP", index + 1) and index + 1 < len(threaded)}
        if len(kept) == len(instructions) and threaded == instructions:
            return instructions, positions
        instructions, positions = _without(threaded, positions, kept)


def _threaded(instructions: tuple[Instruction, ...], one: Instruction) -> Instruction:
    """Let a jump lead to where the jump at its end leads."""
    operation, argument = one
    if operation not in _JUMPS:
        return one
    seen = {argument}
    while instructions[argument][0] == "JUMP" and instructions[argument][1] not in seen:
        argument = instructions[argument][1]
        seen.add(argument)
    return operation, argument


def _reached(instructions: tuple[Instruction, ...]) -> set[int]:
    found: set[int] = set()
    waiting = [0]
    while waiting:
        index = waiting.pop()
        if index in found:
            continue
        found.add(index)
        operation, argument = instructions[index]
        if operation in _JUMPS:
            waiting.append(argument)
        if operation not in _LAST:
            waiting.append(index + 1)
    return found


def _without(
    instructions: tuple[Instruction, ...], positions: tuple[Position, ...], kept: set[int]
) -> tuple[tuple[Instruction, ...], tuple[Position, ...]]:
    """Return what is kept, with jumps and positions that lead to where it is now."""
    moved: list[int] = []
    count = 0
    for index in range(len(instructions)):
        moved.append(count)
        count += index in kept
    left = tuple(
        (operation, moved[argument] if operation in _JUMPS else argument)
        for index, (operation, argument) in enumerate(instructions)
        if index in kept
    )
    return left, tuple(_moved(positions, moved, len(left)))


def _moved(positions: tuple[Position, ...], moved: list[int], count: int) -> list[Position]:
    found: list[Any] = []
    for index, start, end in positions:
        place = (moved[index], start, end)
        if found and found[-1][0] == place[0]:
            found[-1] = place
        elif place[0] < count:
            found.append(place)
    return [one for one in found if one[0] < count]
