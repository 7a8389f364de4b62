"""The producers and consumers of a measured channel."""

from __future__ import annotations

import time
from array import array
from collections import deque
from functools import partial
from typing import Any

from parsl_streaming.bench.job import Job
from parsl_streaming.bench.tally import Tally
from parsl_streaming.bench.workloads import BUFFERS
from parsl_streaming.ends import open_reader
from parsl_streaming.ends import open_writer
from parsl_streaming.replies import Reply
from parsl_streaming.route import Ticket
from parsl_streaming.spec import Pattern


def end_name(role: str, index: int) -> str:
    """Name of a producer or consumer on the channel."""
    return f'{role}-{index}'


def _ticket(job: Job) -> Ticket:
    assert job.ticket is not None  # noqa: S101 (every end of a channel gets one)
    return job.ticket


class Producer:
    """Sends its share; where messages are answered, keeps a window of requests open."""

    address = None

    def __init__(self, job: Job) -> None:
        self._plan = job.plan
        self._marks = job.marks
        self._index = job.index
        self._payloads = job.plan.load.payloads(job.plan.seed)
        self._round_trips = array('d')
        self._corrupt = 0
        self._writer = open_writer(_ticket(job))

    def run(self) -> dict[str, Any]:
        """Send everything, and wait until it is settled."""
        if self._plan.pattern.has_replies:
            self._request_all()
        else:
            self._send_all()
        self._writer.close()
        return {'corrupt': self._corrupt, 'round_trips': self._round_trips.tobytes()}

    def _payload(self, number: int) -> bytes:
        return self._payloads[(self._index + number) % BUFFERS]

    def _send_all(self) -> None:
        send, keyed = self._writer.send, self._plan.pattern is Pattern.SHUFFLE
        for number in range(self._plan.count(self._index)):
            send(self._payload(number), key=number if keyed else None)

    def _request_all(self) -> None:
        waiting: deque[tuple[int, Reply]] = deque()
        for number in range(self._plan.count(self._index)):
            if len(waiting) >= self._plan.window:
                self._check(*waiting.popleft())
            reply = self._writer.request(self._payload(number))
            sent = time.monotonic()  # after the call returned: as the paper takes it
            if number >= self._plan.warm_up:
                reply.add_done_callback(partial(self._arrived, sent))
            waiting.append((number, reply))
        while waiting:
            self._check(*waiting.popleft())

    def _arrived(self, sent: float, reply: object) -> None:
        del reply
        self._round_trips.append(time.monotonic() - sent)

    def _check(self, number: int, reply: Reply) -> None:
        echoes = reply.result(self._plan.limit)
        for echo in echoes if self._plan.pattern is Pattern.GATHER else (echoes,):
            if not self._marks.fit(self._index + number, echo, wholly=False):
                self._corrupt += 1

    def close(self) -> None:
        """Nothing is left: `run` closed the writer."""


class Consumer:
    """Counts what comes, and echoes it where messages are answered."""

    address = None

    def __init__(self, job: Job) -> None:
        self._plan = job.plan
        self._tally = Tally(job.plan, job.marks)
        self._indices = {end_name('producer', i): i for i in range(job.plan.producers)}
        self._reader = open_reader(_ticket(job))

    def run(self) -> dict[str, Any]:
        """Receive until every producer has ended."""
        plan, take, indices = self._plan, self._tally.take, self._indices
        replies, keyed = plan.pattern.has_replies, plan.pattern is Pattern.SHUFFLE
        with self._reader as messages:
            for message in messages:
                producer, _, seq = message.id
                take(indices[producer], message.key if keyed else seq, message.data)
                if replies:
                    message.reply(message.data)
        return self._tally.result() | {'redelivered': self._reader.statistics().redelivered}

    def close(self) -> None:
        """Nothing is left: `run` closed the reader."""
