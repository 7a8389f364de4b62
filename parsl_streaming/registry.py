"""The registry: where the ends of channels find each other. Control plane only.

It runs in the submit process. Every end dials it over CURVE with its site's
key, and gets its epoch, the channel's secrets and every change of the
channel's membership. Running links do not need it.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any
from typing import Final

import msgpack
import zmq

from parsl_streaming import curve
from parsl_streaming.errors import NotAuthorised
from parsl_streaming.errors import StreamingError
from parsl_streaming.errors import UnknownChannel
from parsl_streaming.membership import Channel
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.version import require_version

logger = logging.getLogger(__name__)

SUBMIT: Final = 'submit'
MAX_MESSAGE_BYTES: Final = 512 << 20
SILENCE_SECONDS: Final = 15.0
"""An end that sent no beat for so long is shown as lost."""

_Peer = tuple[bytes, bytes]
"""A connection, and the number of an end on it."""
_Place = tuple[str, str, str, int]
"""Channel, role, name and epoch of a connected end."""


class _Views:
    """What one connection has of the channels' views: the version, by channel."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.heard_at = time.monotonic()

    def news(self, channel: Channel) -> dict[str, Any]:
        """What it does not have yet."""
        since = self.versions.get(channel.spec.name, 0)
        self.versions[channel.spec.name] = channel.view.version
        return {'channel': channel.spec.name, 'view': channel.news(since)}

    def lacks(self, channel: Channel) -> bool:
        """Whether there is something new."""
        return self.versions.get(channel.spec.name) != channel.view.version


class Registry:
    """Matches writers with readers.

    Args:
        addresses: Addresses to listen on (declared interfaces).
        site_keys: For each site, the public key of its ends.
    """

    def __init__(self, addresses: tuple[str, ...], site_keys: Mapping[str, str]) -> None:
        self._sites = {key: site for site, key in site_keys.items()}
        self._channels: dict[str, Channel] = {}
        self._peers: dict[_Peer, _Place] = {}
        self._beats: dict[_Peer, float] = {}
        self._views: dict[bytes, _Views] = {}
        self._lock = threading.RLock()
        self._keys = curve.KeyPair.new()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        curve.Gatekeeper(self._context, self._sites.__contains__)
        self._socket = self._context.socket(zmq.ROUTER)
        curve.make_server(self._socket, self._keys)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._socket.linger = 200
        self._socket.sndhwm = 0  # a change that was dropped would be missing for good
        try:
            self.addresses = tuple(self._bind(address) for address in addresses)
        except zmq.ZMQError:
            self._free()
            raise
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name='registry', daemon=True)
        self._thread.start()

    def _bind(self, address: str) -> str:
        self._socket.ipv6 = ':' in address
        host = f'[{address}]' if ':' in address else address
        port = self._socket.bind_to_random_port(f'tcp://{host}')
        return f'tcp://{host}:{port}'

    @property
    def public_key(self) -> str:
        """The registry's CURVE public key, for routes."""
        return self._keys.public

    def add(self, spec: ChannelSpec, architecture_secrets: Mapping[str, Any]) -> None:
        """Take a provisioned channel; draws the secret of its seal."""
        secret = secrets.token_bytes(32) if spec.sealed else None
        with self._lock:
            self._channels[spec.name] = Channel(spec, secret, architecture_secrets)

    def channel(self, name: str) -> Channel:
        """The membership of a channel.

        Raises:
            UnknownChannel: It was not provisioned.
        """
        try:
            return self._channels[name]
        except KeyError:
            msg = f'channel {name!r} is not provisioned in this session'
            raise UnknownChannel(msg) from None

    def declare(self, channel: str, role: str, name: str, call: str, group: str) -> None:
        """A task was submitted that will open this end."""
        with self._lock:
            self.channel(channel).declare(role, name, call, group)
        self._poke()

    def fail(self, channel: str, role: str, name: str, reason: str) -> None:
        """A task failed for good: its end will not come (again)."""
        with self._lock:
            self.channel(channel).set_state(role, name, None, 'failed', reason=reason)
        self._poke()

    def _poke(self) -> None:
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Stop; ends that still run keep their links."""
        if self._stopping:
            return
        self._stopping = True
        self._poke()
        self._thread.join()
        self._free()
        os.close(self._wake)

    def _free(self) -> None:
        self._socket.close()
        self._context.term()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        while not self._stopping:
            events = dict(poller.poll(1000))
            if self._wake in events:
                os.eventfd_read(self._wake)
            while self._socket.poll(0):
                self._receive()
            with self._lock:
                self._notice_silence()
                self._push_views()

    def _receive(self) -> None:
        identity, *frames = self._socket.recv_multipart(copy=False)
        frame = frames[-1]
        peer = (identity.bytes, frames[0].bytes if len(frames) > 1 else b'')
        try:
            request = msgpack.unpackb(frame.buffer, strict_map_key=False)
            site = self._sites[str(frame['User-Id'])]
            with self._lock:
                answer = self._handle(peer, site, request)
        except StreamingError as error:
            answer = {'error': [type(error).__name__, str(error)]}
        except Exception:
            # A malformed request must not stop the registry for the others.
            logger.exception('a request to the registry could not be handled')
            answer = {'error': ['StreamingError', 'the registry could not handle the request']}
        if answer is not None:
            self._send(peer, answer)

    def _send(self, peer: _Peer, answer: Mapping[str, Any]) -> None:
        self._socket.send_multipart([*peer, msgpack.packb(answer)], copy=True)

    def _handle(self, peer: _Peer, site: str, request: dict[str, Any]) -> dict[str, Any] | None:
        now = time.monotonic()
        self._views.setdefault(peer[0], _Views()).heard_at = now
        if request['op'] == 'open':
            return self._open(peer, site, request)
        if request['op'] == 'rejoin':
            return self._rejoin(peer, site, request)
        if peer not in self._peers:
            return {'unknown': True}
        self._beats[peer] = now
        return self._hear(peer, self._peers[peer], request)

    def _hear(self, peer: _Peer, known: _Place, request: dict[str, Any]) -> dict[str, Any] | None:
        """News from an end that is open."""
        name, role, end, epoch = known
        channel = self.channel(name)
        if 'statistics' in request:
            channel.statistics.record(role, f'{end}#{epoch}', request['statistics'])
        match request['op']:
            case 'announce':
                channel.announce(role, end, epoch, request['contact'])
            case 'bury':
                channel.letters.append(tuple(request['letter']))
                return {'kept': True}
            case 'leave':
                self._forget(peer)
                contact = {'end': request['end']} if 'end' in request else {}
                state = 'lost' if request.get('lost') else 'closed'
                channel.set_state(role, end, epoch, state, **contact)
                return {'left': True}
        return None

    def _open(self, peer: _Peer, site: str, request: dict[str, Any]) -> dict[str, Any]:
        require_version(request['version'], f'site {site!r}')
        channel = self.channel(request['channel'])
        role, name = request['role'], request['name']
        self._authorise(channel, site, role)
        epoch = channel.open(role, name, request['call'], request['group'])
        self._fence(channel.spec.name, role, name)
        self._take(peer, (channel.spec.name, role, name, epoch))
        answer = {'epoch': epoch, 'secret': channel.secret, 'secrets': dict(channel.secrets)}
        return answer | self._views[peer[0]].news(channel)

    def _take(self, peer: _Peer, place: _Place) -> None:
        self._peers[peer] = place
        self._beats[peer] = self._views[peer[0]].heard_at

    def _rejoin(self, peer: _Peer, site: str, request: dict[str, Any]) -> dict[str, Any]:
        channel = self.channel(request['channel'])
        role, name, epoch = request['role'], request['name'], request['epoch']
        self._authorise(channel, site, role)
        if not channel.rejoin(role, name, epoch, request['group'], request['contact']):
            return {'fenced': True}
        for other in self._holders(channel.spec.name, role, name):
            self._forget(other)  # the same end, before its connection was lost
        self._take(peer, (channel.spec.name, role, name, epoch))
        return {'rejoined': True} | self._views[peer[0]].news(channel)

    def _authorise(self, channel: Channel, site: str, role: str) -> None:
        allowed = channel.spec.source if role == 'writer' else channel.spec.target
        if site not in (allowed, SUBMIT):
            msg = f'site {site!r} may not open a {role} of channel {channel.spec.name!r}'
            raise NotAuthorised(msg)

    def _fence(self, channel: str, role: str, name: str) -> None:
        """A newer epoch opened: tell the older one to stop."""
        for peer in self._holders(channel, role, name):
            self._send(peer, {'fenced': True})
            self._forget(peer)

    def _holders(self, channel: str, role: str, name: str) -> list[_Peer]:
        return [peer for peer, known in self._peers.items() if known[:3] == (channel, role, name)]

    def _forget(self, peer: _Peer) -> None:
        self._peers.pop(peer, None)
        self._beats.pop(peer, None)

    def _notice_silence(self) -> None:
        long_ago = time.monotonic() - SILENCE_SECONDS
        for peer, beat in list(self._beats.items()):
            if beat < long_ago:
                known = self._peers[peer]
                self._forget(peer)
                self.channel(known[0]).set_state(*known[1:], 'lost')
        for identity, views in list(self._views.items()):
            if views.heard_at < long_ago:
                del self._views[identity]

    def _push_views(self) -> None:
        """Once per connection and channel, whatever number of ends it has there."""
        for (identity, _), (name, _, _, _) in self._peers.items():
            views, channel = self._views[identity], self._channels[name]
            if views.lacks(channel):
                self._send((identity, b''), views.news(channel))
