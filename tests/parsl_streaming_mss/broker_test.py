"""The embedded broker: private, gone when we are gone, back when it died."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_streaming.errors import BrokerDataLost
from parsl_streaming.errors import BrokerUnavailable
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.spec import Durability
from parsl_streaming_mss import ManagedStreaming
from parsl_streaming_mss import broker as broker_module
from parsl_streaming_mss import program
from parsl_streaming_mss.broker import Broker
from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.connect import connect

OWNER = """
import sys, threading, time
from pathlib import Path
from parsl_streaming_mss.broker import Broker
brokers = []
thread = threading.Thread(target=lambda: brokers.append(Broker(directory=Path(sys.argv[1]))))
thread.start()
thread.join()
print(brokers[0].pid, flush=True)
time.sleep(60)
"""


def test_it_keeps_its_password_and_files_to_itself(tmp_path: Path) -> None:
    broker = Broker(directory=tmp_path)
    try:
        process = psutil.Process(broker.pid)
        seen = ' '.join([*process.cmdline(), *process.environ().values(), repr(broker.endpoint)])
        assert broker.endpoint.password not in seen
        assert [c.laddr.ip for c in process.net_connections() if c.status == 'LISTEN'] == [
            '127.0.0.1'
        ]
        (directory,) = tmp_path.iterdir()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for name in ('users.acl', 'broker.conf'):
            assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600
            assert broker.endpoint.password not in (directory / name).read_text()
        stranger = Endpoint(broker.endpoint.host, broker.endpoint.port)
        with pytest.raises(NotAuthorised):
            connect(stranger)
    finally:
        broker.close()


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    broker = Broker(directory=tmp_path, durable=True)
    process = psutil.Process(broker.pid)
    broker.close()
    broker.close()
    assert not process.is_running()
    assert broker.pid is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault
@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel of Linux does it')
def test_it_dies_with_its_owner_but_not_with_the_thread_that_made_it(tmp_path: Path) -> None:
    command = [sys.executable, '-c', OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        server = psutil.Process(int(owner.stdout.readline()))
        time.sleep(0.1)
        assert server.is_running()
        owner.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs([server], timeout=5)
    assert (len(gone), alive) == (1, [])


@pytest.mark.fault
def test_nothing_acknowledged_is_lost_when_a_durable_broker_is_killed(
    tmp_path: Path, stage: Any, tools: Any
) -> None:
    durable = ManagedStreaming(directory=tmp_path)
    try:
        here = stage(architecture=durable, durability=Durability.DISK)
        here.declare('r')
        writer, reader = here.writer(), here.reader()
        (broker,) = durable._brokers.values()
        got: list[int] = []

        def work() -> None:
            delivery = reader.read(0.05)
            if delivery is not None:
                got.append(delivery.batch.number)
                reader.acknowledge(delivery)

        for i in range(1, 61):
            writer.write(tools.make_batch(i, os.urandom(20_000)), 20)
            if i % 3 == 0:
                work()
            if i in (20, 40):
                os.kill(broker.pid, signal.SIGKILL)
        tools.settle_down(lambda: tools.waiting(writer) == 0, lambda: writer.pump(0.05))
        tools.settle_down(lambda: set(got) == set(range(1, 61)), work)
        assert writer.statistics()['reconnections'] >= 1
    finally:
        here.close()
        here.ends.clear()
        durable.close()


@pytest.mark.fault
def test_a_broker_in_memory_that_is_killed_has_lost_its_data(
    tmp_path: Path, stage: Any, tools: Any
) -> None:
    volatile = ManagedStreaming(directory=tmp_path)
    try:
        here = stage(architecture=volatile, durability=Durability.MEMORY)
        here.declare('r')
        writer, reader = here.writer(), here.reader()
        tools.store(writer, tools.make_batch(1))
        tools.take(reader, 1)
        (broker,) = volatile._brokers.values()
        os.kill(broker.pid, signal.SIGKILL)
        with pytest.raises(BrokerDataLost):
            tools.store(writer, tools.make_batch(2))
        with pytest.raises(BrokerDataLost):
            tools.take(reader, 1)
    finally:
        here.close()
        here.ends.clear()
        volatile.close()


def test_a_program_that_does_not_start_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, 'find_program', lambda: Path('/bin/false'))
    monkeypatch.setattr(broker_module, '_QUICK_DEATHS', 1)
    with pytest.raises(BrokerUnavailable, match='did not start'):
        Broker(directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(BrokerUnavailable, match='check the addresses'):
        Broker(host='192.0.2.1')


def test_the_program_on_the_path_is_taken_if_recent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    server = tmp_path / 'redis-server'
    server.write_text('#!/bin/sh\necho Redis server v=6.0.16 sha=0\n')
    server.chmod(0o755)
    assert program.find_program().name == 'valkey-server'
    server.write_text('#!/bin/sh\necho Redis server v=6.2.0 sha=0\n')
    assert program.find_program() == server


def test_no_program_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(program.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(BrokerUnavailable, match='install one of them'):
        program.find_program()


def test_versions_are_found_in_texts() -> None:
    assert program.parse_version('Redis server v=7.0.15 sha=00000000:0') == (7, 0, 15)
    assert program.parse_version('8.4') == (8, 4, 0)
    assert program.parse_version('no number') == ()


def test_a_connection_answers(tmp_path: Path) -> None:
    broker = Broker(directory=tmp_path, maxmemory_bytes=64 << 20)
    try:
        with closing(connect(broker.endpoint)) as connection:
            assert connection.ask(['CONFIG', 'GET', 'maxmemory'])[0][1] == str(64 << 20).encode()
    finally:
        broker.close()
