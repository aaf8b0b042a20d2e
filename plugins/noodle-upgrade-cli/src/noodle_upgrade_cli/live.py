"""The live view of one upgrade on a terminal: shows what happens, and passes on what a person's keys ask for."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from rich.console import Console
from rich.live import Live

from noodle_upgrade_cli.client import ControlClient
from noodle_upgrade_cli.cockpit import frame_of
from noodle_upgrade_cli.course import Course
from noodle_upgrade_cli.following import follow_upgrade
from noodle_upgrade_cli.keyboard import Heard, Keyboard
from noodle_upgrade_cli.steering import Order, Steering
from noodle_upgrade_core.errors import UpgradeError

__all__ = ["Killed", "LiveView"]

_FRAME_SECONDS = 0.125
_LOOK_SECONDS = 2.0
"""How often the state is asked for while people are waited for: an approval that is one of several is no event."""
_MESSAGE_SECONDS = 4.0
_FATAL = frozenset({signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})

_DOING = {
    Order.PROMOTE: "Promoting by a step …",
    Order.PROMOTE_FULL: "Promoting in full …",
    Order.PAUSE: "Pausing …",
    Order.RESUME: "Resuming …",
    Order.ABORT: "Aborting: all traffic goes back …",
    Order.APPROVE: "Approving …",
}
_DONE = {
    Order.PROMOTE: "Promoted by a step.",
    Order.PROMOTE_FULL: "Promoted in full.",
    Order.PAUSE: "Paused; what has moved goes on being judged.",
    Order.RESUME: "Resumed.",
    Order.ABORT: "Aborted.",
    Order.APPROVE: "Approved.",
}


@define(kw_only=True)
class LiveView:
    """Shows one upgrade until it has ended, or somebody leaves. Belongs to the main thread, as signals do.

    Whatever waits for the program does so in threads of its own, so that a key is answered at once.
    """

    client: ControlClient
    keyboard: Keyboard
    console: Console
    upgrade_id: str
    state: Mapping[str, Any]
    patience: float = 60.0
    _inbox: queue.SimpleQueue[Callable[[], None]] = field(factory=queue.SimpleQueue)
    _steering: Steering = field(factory=Steering)
    _course: Course = field(init=False)
    _ended: dict[str, Any] | None = None
    _leaving: bool = False
    _looked: float = 0.0
    _said: tuple[str, float] = ("", 0.0)

    def __attrs_post_init__(self) -> None:
        self._course = Course.of(self.upgrade_id, self.state)

    def run(self) -> dict[str, Any] | None:
        """Return the upgrade's last state once it has ended; None when somebody left before.

        Raises `KeyboardInterrupt` for Ctrl-C, and what keeps it from following the upgrade.
        """
        self._in_thread(self._follow)
        with self.keyboard, self._live() as live:
            while self._ended is None and not self._leaving:
                heard = self.keyboard.wait(_FRAME_SECONDS)
                if heard.signal == signal.SIGTSTP:
                    live.stop()
                    self.keyboard.suspend()
                    live.start()
                else:
                    self._hear(heard)
                self._take_in()
                self._look_for_people()
                self._forget_what_was_said()
                live.refresh()
        return self._ended

    def _live(self) -> Live:
        plain = self.console.options.ascii_only
        return Live(
            console=self.console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=lambda: frame_of(self._course, self._steering, plain=plain),
        )

    # --- what comes in -------------------------------------------------------------------------------------------

    def _hear(self, heard: Heard) -> None:
        if heard.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if heard.signal in _FATAL or heard.gone:
            raise Killed(heard.signal or signal.SIGHUP)
        order = self._steering.press(heard.key, self._course) if heard.key else None
        if order is Order.LEAVE:
            self._leaving = True
        elif order is not None:
            self._steering.say(_DOING[order])
            self._in_thread(lambda: self._carry_out(order))

    def _take_in(self) -> None:
        while True:
            try:
                news = self._inbox.get_nowait()
            except queue.Empty:
                return
            news()

    def _look_for_people(self) -> None:
        if self._course.card.waiting and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._in_thread(self._look)

    def _forget_what_was_said(self) -> None:
        """Let the keys be seen again; what went wrong stays until the next key."""
        message, since = self._said
        if self._steering.message != message:
            self._said = (self._steering.message, time.monotonic())
        elif message and not self._steering.failed and time.monotonic() - since > _MESSAGE_SECONDS:
            self._steering.say("")

    # --- in threads of their own ---------------------------------------------------------------------------------

    def _in_thread(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - raised again where it is reported
                self._tell(self._fail, error)

        # Daemons: who leaves does not wait for an answer that nobody will look at.
        threading.Thread(target=guarded, name="noodle watch", daemon=True).start()

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        self._inbox.put(lambda: function(*arguments))

    def _follow(self) -> None:
        state = follow_upgrade(
            self.client,
            self.upgrade_id,
            on_event=lambda event: self._tell(self._course.take, event),
            patience=self.patience,
        )
        self._tell(self._end, state)

    def _carry_out(self, order: Order) -> None:
        client, upgrade_id = self.client, self.upgrade_id
        try:
            match order:
                case Order.PROMOTE | Order.PROMOTE_FULL:
                    client.promote(upgrade_id, full=order is Order.PROMOTE_FULL)
                case Order.PAUSE:
                    client.pause(upgrade_id)
                case Order.RESUME:
                    client.resume(upgrade_id)
                case Order.ABORT:
                    client.cancel(upgrade_id)
                case _:
                    client.approve(upgrade_id, self._course.digest)
        except UpgradeError as error:
            self._tell(self._refused, error)
        else:
            self._tell(self._steering.say, _DONE[order])
            self._look()

    def _look(self) -> None:
        # What is wrong with the connection the follower says, who tries again.
        with contextlib.suppress(UpgradeError):
            self._tell(self._course.learn, self.client.upgrade(self.upgrade_id))

    # --- what becomes of it, in the main thread ------------------------------------------------------------------

    def _end(self, state: dict[str, Any]) -> None:
        self._ended = state

    def _refused(self, error: UpgradeError) -> None:
        self._steering.say(f"{error.message} {error.hint}".strip(), failed=True)

    def _fail(self, error: Exception) -> None:
        raise error


class Killed(BaseException):
    """A signal ended the view; the terminal has its state back by the time this is caught."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def die(self) -> None:
        """End this process as the signal would have."""
        signal.signal(self.number, signal.SIG_DFL)
        os.kill(os.getpid(), self.number)
