"""A producer or consumer in a process of its own, to be killed: `python -m fault_child`.

Standard input brings its orders, pickled; its journal tells what it did.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from history import Journal
from history import digest

from parsl_streaming.ends import open_reader
from parsl_streaming.ends import open_writer
from parsl_streaming.errors import ChannelAborted
from parsl_streaming.route import Ticket


@dataclass(frozen=True)
class Orders:
    """What a child shall do.

    Attributes:
        ticket: Its place.
        journal: Where it notes what it does.
        label: Its name in the history.
        count: Messages that a producer sends.
        pace: Seconds that each message takes.
        flush: Messages between two flushes of a producer.
        hold: Message at which it notes `held` and pauses.
        pause: Seconds of the pause.
    """

    ticket: Ticket
    journal: Path
    label: str = 'c'
    count: int = 0
    pace: float = 0.0
    flush: int = 50
    hold: int = -1
    pause: float = 60.0


def start(orders: Orders) -> subprocess.Popen[bytes]:
    """Start a child."""
    child = subprocess.Popen([sys.executable, '-m', 'fault_child'], stdin=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.write(pickle.dumps(orders))
    child.stdin.close()
    return child


class _Child:
    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.journal = Journal(orders.journal)

    def step(self, i: int) -> None:
        if i == self.orders.hold:
            self.journal.note('held', pid=os.getpid())
            time.sleep(self.orders.pause)
        time.sleep(self.orders.pace)

    def produce(self) -> None:
        label, unsafe = self.orders.label, []
        with open_writer(self.orders.ticket) as writer:
            for i in range(self.orders.count):
                data = os.urandom(100 + i % 900)
                self.journal.note('sent', producer=label, seq=i, digest=digest(data))
                writer.send([label, i, data])
                unsafe.append(i)
                if len(unsafe) == self.orders.flush:
                    writer.flush()
                    while unsafe:
                        self.journal.note('safe', producer=label, seq=unsafe.pop())
                self.step(i)

    def consume(self) -> None:
        with open_reader(self.orders.ticket) as reader:
            for i, message in enumerate(reader):
                label, seq, data = message.value
                about = {'producer': label, 'seq': seq, 'digest': digest(data)}
                self.journal.note('received', redelivered=message.redelivered, **about)
                self.step(i)
                self.journal.note('done', **about)


def main() -> None:
    child = _Child(pickle.load(sys.stdin.buffer))
    try:
        child.produce() if child.orders.ticket.role == 'writer' else child.consume()
    except ChannelAborted as error:
        child.journal.note('aborted', reason=str(error))


if __name__ == '__main__':
    main()
