"""What is at work, told in lines: for a log, a pipe or CI, where no line can move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from stalign_core.wording import span

EVERY_SECONDS: Final = 10.0
_FIRST_AFTER_SECONDS: Final = 1.0
_LOOK_EVERY_SECONDS: Final = 0.25


class PlainProgress:
    """Says what is at work when a step begins, and every ten seconds how much of it is done and what is left.

    Parameters
    ----------
    say
        Prints a line.
    every_seconds
        Between two lines of one step.
    clock
        Seconds, from wherever.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        every_seconds: float = EVERY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._every = every_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, daemon=True)
        self._what: str | None = None
        self._began = self._due = 0.0
        self._counting_since = 0.0
        self._done = self._done_at_first = self._total = 0

    def start(self) -> None:
        """Tell of time that passes, too, while a step says nothing itself."""
        self._thread.start()

    def stop(self) -> None:
        """Say nothing more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def begin(self, what: str) -> None:
        """A step begins, and is named at once."""
        with self._lock:
            self._set(what, self._every)
        self._say(f"  … {what}")

    def wait_for(self, what: str) -> None:
        """Something begins that is named if it takes its time."""
        with self._lock:
            self._set(what, min(_FIRST_AFTER_SECONDS, self._every))

    def count(self, what: str, done: int, total: int) -> None:
        """`done` of `total` units are done; where no step was begun this is one, named if it takes its time."""
        with self._lock:
            if self._what is None:
                self._set(what, min(_FIRST_AFTER_SECONDS, self._every))
            if total != self._total or done < self._done:
                self._counting_since, self._done_at_first = self._clock(), done
            self._what, self._done, self._total = what, done, total
        self.look()

    def end(self) -> None:
        """Nothing is at work until the next step begins."""
        with self._lock:
            self._what = None

    def look(self) -> None:
        """Say how far the step is, if that is due."""
        with self._lock:
            now = self._clock()
            if self._what is None or now < self._due:
                return
            self._due = now + self._every
            line = f"  … {self._what}: {self._words(now)}"
        self._say(line)

    def _set(self, what: str, due_in: float) -> None:
        self._what, self._began = what, self._clock()
        self._due = self._began + due_in
        self._done = self._total = 0

    def _words(self, now: float) -> str:
        words = [span(now - self._began)]
        if self._total:
            words.insert(0, f"{self._done} of {self._total}")
            done, seconds = self._done - self._done_at_first, now - self._counting_since
            if done > 0:
                words.append(f"about {span(seconds / done * (self._total - self._done))} left")
        return ", ".join(words)

    def _keep_looking(self) -> None:
        while not self._over.wait(min(_LOOK_EVERY_SECONDS, self._every)):
            self.look()
