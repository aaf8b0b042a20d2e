"""What a person's keys mean to the upgrade on the screen: an order, a question first, or nothing. No I/O."""

from __future__ import annotations

import enum

from attrs import define

from noodle_upgrade_cli.course import Course

__all__ = ["KEYS", "Order", "Steering"]


class Order(enum.Enum):
    """What is to be done."""

    PROMOTE = "promote"
    PROMOTE_FULL = "promote in full"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    APPROVE = "approve"
    LEAVE = "leave"


KEYS = (
    ("p", "promote: end the present wait without its evidence"),
    ("P", "promote in full: end all waits that are left; asks first"),
    ("space", "pause, or resume: while it lasts no more traffic moves"),
    ("a", "abort: all traffic back to the old version; asks first"),
    ("y", "approve what is waited for, or answer yes"),
    ("q", "leave: the upgrade goes on"),
    ("?", "this help, or away with it"),
)
"""Each key with what it does, in the order in which they are shown."""

_AT_ONCE = {"p": Order.PROMOTE, "y": Order.APPROVE, "q": Order.LEAVE}
_QUESTIONS = {
    Order.PROMOTE_FULL: "Promote in full, past all waits that are left? y: yes, any other key: no",
    Order.ABORT: "Abort, with all traffic back to the old version? y: yes, any other key: no",
}


@define
class Steering:
    """The state of the keys: a question that is open, what was said last, and whether the help is shown.

    An order that cannot be taken back needs a second key, `y`.
    """

    message: str = ""
    failed: bool = False
    helping: bool = False
    _asked: Order | None = None

    @property
    def question(self) -> str:
        """The question that is open; "" for none."""
        return _QUESTIONS[self._asked] if self._asked else ""

    def press(self, key: str, course: Course) -> Order | None:
        """Take one key; returns what is to be done now."""
        asked, self._asked = self._asked, None
        self.say("")
        if asked is not None:
            if key == "y":
                return asked
            self.say("Nothing was done.")
            return None
        if key in {"P", "a"}:
            self._asked = Order.PROMOTE_FULL if key == "P" else Order.ABORT
        elif key == "y" and not course.card.waiting:
            self.say("It waits for nobody's approval just now.")
        elif key == " ":
            return Order.RESUME if course.card.paused else Order.PAUSE
        else:
            self.helping = key == "?" and not self.helping
        return _AT_ONCE.get(key) if key != "y" or course.card.waiting else None

    def say(self, message: str, *, failed: bool = False) -> None:
        """Have this shown until the next key."""
        self.message, self.failed = message, failed
