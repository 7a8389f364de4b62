from __future__ import annotations

import threading

from parsl_streaming.ticker import Ticker


class End:
    """Counts its ticks, and says when there were so many."""

    def __init__(self, *, busy: bool, enough: int) -> None:
        self.ticks = 0
        self.reached = threading.Event()
        self.thread: threading.Thread | None = None
        self._busy = busy
        self._enough = enough

    def tick(self) -> bool:
        self.ticks += 1
        self.thread = threading.current_thread()
        if self.ticks == self._enough:
            self.reached.set()
        return self._busy


def test_it_ticks_in_a_thread_that_keeps_no_process_alive_and_ends() -> None:
    end = End(busy=True, enough=3)
    it = Ticker(end, 'its name')
    assert end.reached.wait(5)
    assert end.thread is not None
    assert (end.thread.name, end.thread.daemon) == ('its name', True)
    it.stop()
    end.thread.join(5)
    assert not end.thread.is_alive()


def test_it_ticks_when_woken_and_now_and_then_without() -> None:
    end = End(busy=False, enough=3)
    it = Ticker(end, 'ticker')
    it.wake()
    assert end.reached.wait(5)
    it.stop()
    it.stop()
