"""A facility's broker with TLS: who it is must be proved, by default."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from parsl_streaming.errors import NotAuthorised
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site
from parsl_streaming_mss import ManagedStreaming

CHANNEL = ChannelSpec(name='frames', source='a', target='b')


class Authority:
    """A certificate authority of our own, and certificates that it signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, 'test authority')])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._sign(self.name, self.key, constraints)
        self.file = folder / 'ca.pem'
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, name: Any, key: Any, *extensions: Any) -> Any:
        now = datetime.now(tz=UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        for extension in (*extensions, identifier, issuer):
            critical = isinstance(extension, x509.BasicConstraints)
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, host: str) -> ssl.SSLContext:
        """What a server of this name shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(name, key, x509.SubjectAlternativeName([x509.DNSName(host)]))
        file = self.folder / 'server.pem'
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


class Front:
    """Speaks TLS for a broker that does not; each connection has a thread."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self._context = context
        self._broker = ('127.0.0.1', port)
        self._stopping = threading.Event()
        self._listener = socket.create_server(('127.0.0.1', 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(5)
        # A client that refuses our certificate is an `OSError`.
        with (
            client,
            suppress(OSError),
            socket.create_connection(self._broker, 5) as broker,
            self._context.wrap_socket(client, server_side=True) as tls,
        ):
            self._copy(tls, broker)

    def _copy(self, tls: ssl.SSLSocket, broker: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(tls, selectors.EVENT_READ, broker)
            selector.register(broker, selectors.EVENT_READ, tls)
            while not self._stopping.is_set():
                for key, _ in selector.select(0.05):
                    source: Any = key.fileobj
                    data = source.recv(1 << 16)
                    while source is tls and tls.pending():
                        data += tls.recv(1 << 16)
                    if not data:
                        return
                    key.data.sendall(data)

    def close(self) -> None:
        self._stopping.set()
        while self._threads:
            self._threads.pop(0).join()
        self._listener.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def facility(
    architecture: ManagedStreaming, authority: Authority, tmp_path: Path
) -> Iterator[Callable[..., ManagedStreaming]]:
    """Makes the architecture for a broker at `localhost` that shows a certificate for `name`."""
    (broker,) = architecture._brokers.values()
    secret = tmp_path / 'secret'
    secret.touch(0o600)
    secret.write_text(broker.endpoint.password)
    fronts = []

    def make(name: str = 'localhost', **options: Any) -> ManagedStreaming:
        fronts.append(Front(authority.server(name), broker.endpoint.port))
        url = f'rediss://localhost:{fronts[-1].port}/0'
        return ManagedStreaming(url=url, password_file=secret, **options)

    yield make
    for front in fronts:
        front.close()


def test_batches_pass(
    facility: Callable[..., ManagedStreaming], authority: Authority, stage: Any, tools: Any
) -> None:
    here = stage(architecture=facility(ca_file=authority.file))
    here.declare('r')
    assert here.provision.public['tls'] is True
    body = bytes(range(256)) * 4096  # Many records of TLS.
    writer, reader = here.writer(), here.reader()
    tools.store(writer, tools.make_batch(1, body), tools.make_batch(2))
    one, two = tools.take(reader, 2)
    assert (bytes(one.batch.body), bytes(two.batch.body)) == (body, b'body')
    tools.acknowledge(reader, [one, two])
    here.close()
    here.ends.clear()


def test_an_unknown_authority_is_refused(facility: Callable[..., ManagedStreaming]) -> None:
    with pytest.raises(NotAuthorised, match='did not prove who it is'):
        facility().provision(CHANNEL, Site(name='a'), Site(name='b'))


def test_another_authority_of_the_same_name_is_refused(
    facility: Callable[..., ManagedStreaming], tmp_path: Path
) -> None:
    (tmp_path / 'other').mkdir()
    other = Authority(tmp_path / 'other')
    with pytest.raises(NotAuthorised, match='did not prove who it is'):
        facility(ca_file=other.file).provision(CHANNEL, Site(name='a'), Site(name='b'))


def test_another_host_is_refused(
    facility: Callable[..., ManagedStreaming], authority: Authority
) -> None:
    other = facility('broker.example.org', ca_file=authority.file)
    with pytest.raises(NotAuthorised, match="not valid for 'localhost'"):
        other.provision(CHANNEL, Site(name='a'), Site(name='b'))
