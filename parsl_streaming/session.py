"""A session: the configuration at work, from `load` to the end of the `with` block."""

from __future__ import annotations

import itertools
import logging
import secrets
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import Self

import zmq

from parsl_streaming.architectures import Catalogue
from parsl_streaming.config import Config
from parsl_streaming.connection import close_idle
from parsl_streaming.curve import KeyPair
from parsl_streaming.curve import require_libzmq
from parsl_streaming.errors import ConfigError
from parsl_streaming.errors import NoRoute
from parsl_streaming.errors import StreamingError
from parsl_streaming.letters import DeadLetter
from parsl_streaming.letters import open_letters
from parsl_streaming.policy import Decision
from parsl_streaming.policy import choose
from parsl_streaming.registry import Registry
from parsl_streaming.route import Route
from parsl_streaming.route import Ticket
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Site
from parsl_streaming.statistics import ChannelStatistics
from parsl_streaming.version import VERSION
from parsl_streaming.wire import decode_batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What provisioning a channel came to.

    Attributes:
        decision: What the policy said.
        architecture: The one that carries the channel.
        failures: Those that were tried before, and why they could not be opened.
        why: Why this one carries it, in a sentence.
    """

    decision: Decision
    architecture: str
    failures: Mapping[str, str]
    why: str


class Session:
    """Provisions channels, runs the registry, and knows every end.

    Args:
        config: The checked configuration.
        architecture: Pins the architecture of every channel that pins none itself.

    Raises:
        ConfigError: A channel pins an architecture that cannot give what it declares.
        NoRoute: No architecture may carry a channel; the message says what would have to change.
    """

    def __init__(self, config: Config, architecture: str | None = None) -> None:
        require_libzmq()
        self.config = config
        self.id = secrets.token_hex(8)
        self.outcomes: dict[str, Outcome] = {}
        self._pin = architecture
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._architectures = Catalogue(config.options, config.origin)
        self._decisions = {
            channel.name: self._decide(channel) for channel in config.channels.values()
        }
        self._routes: dict[str, Future[Route]] = {}
        self._closed = False
        self.directory = self._make_directory()
        try:
            self._sites, keys = self._make_keys()
            self._registry = self._make_registry(keys)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self._provisioner = ThreadPoolExecutor(1, thread_name_prefix='provision')

    def _make_directory(self) -> Path:
        directory = Path(self.config.session.directory).absolute() / self.id
        try:
            directory.mkdir(mode=0o700, parents=True)
        except OSError as error:
            msg = (
                f'{self.config.origin}: session.directory: {directory.parent} cannot be written '
                f'({error.strerror}); name a folder of yours'
            )
            raise ConfigError(msg) from error
        return directory

    def _make_registry(self, keys: Mapping[str, str]) -> Registry:
        address = self.config.session.registry_address
        try:
            return Registry((address,), keys)
        except zmq.ZMQError as error:
            msg = (
                f'{self.config.origin}: session.registry_address: cannot listen on {address} '
                f'({error.strerror}); name an address of this host'
            )
            raise ConfigError(msg) from error

    def _make_keys(self) -> tuple[dict[str, Site], dict[str, str]]:
        """A key file per site, unless the site has its own; the public keys by site."""
        sites, keys = {}, {}
        for site in self.config.sites.values():
            path = Path(site.key_file) if site.key_file else self.directory / f'{site.name}.key'
            pair = KeyPair.load(path) if site.key_file else KeyPair.new()
            if not site.key_file:
                pair.save(path)
            sites[site.name] = replace(site, key_file=str(path))
            keys[site.name] = pair.public
        return sites, keys

    def route(self, name: str) -> Future[Route]:
        """The channel's route, when it is provisioned (in the background, once).

        Raises:
            UnknownChannel: No channel of this name is configured.
        """
        channel = self.config.channel(name)
        with self._lock:
            if name not in self._routes:
                self._routes[name] = self._provisioner.submit(self._provision, channel)
            return self._routes[name]

    def _decide(self, channel: ChannelSpec) -> Decision:
        """Ask the policy at once, so that a channel without a route is refused at load."""
        if channel.architecture is None:
            channel = replace(channel, architecture=self._pin)
        source, target = self.config.ends(channel)
        return choose(channel, source, target, self.config.rules, self._architectures)

    def _provision(self, channel: ChannelSpec) -> Route:
        decision = self._decisions[channel.name]
        pinned = decision.pinned and channel.architecture is None
        channel = decision.channel
        failures: dict[str, str] = {}
        for name in decision.candidates:
            try:
                route = self._provision_with(name, channel)
            except StreamingError as error:
                logger.warning('channel %s: %s cannot be opened: %s', channel.name, name, error)
                failures[name] = str(error)
            else:
                rule = next(w.rule for w in decision.winners if w.rule.use == name)
                why = 'It is pinned for this run.' if pinned else rule.because
                self.outcomes[channel.name] = Outcome(decision, name, failures, why)
                return route
        reasons = '; '.join(f'{name}: {reason}' for name, reason in failures.items())
        msg = f'channel {channel.name!r} cannot be opened: {reasons}'
        raise NoRoute(msg)

    def _provision_with(self, name: str, channel: ChannelSpec) -> Route:
        source, target = self._sites[channel.source], self._sites[channel.target]
        provision = self._architectures.get(name).provision(channel, source, target)
        self._registry.add(channel, provision.secrets)
        return Route(
            session=self.id,
            version=VERSION,
            channel=channel,
            source=source,
            target=target,
            architecture=name,
            registry=self._registry.addresses,
            registry_key=self._registry.public_key,
            public=provision.public,
        )

    def ticket(
        self,
        channel: str,
        role: str,
        *,
        name: str | None = None,
        label: str | None = None,
        call: str | None = None,
        group: str | None = None,
        start: str | None = None,
    ) -> Future[Ticket]:
        """A place on a channel for one end, declared at the registry.

        Args:
            channel: The channel's name.
            role: `writer` or `reader`.
            name: Producer or consumer name; made up from the label if `None`.
            label: What a made-up name begins with; the role if `None`.
            call: Identity of the app call that will open the end.
            group: A reader's group; `None` is the channel's only one, or one of
                its own on a broadcast channel.
            start: Where a reader of a replayable channel begins.

        Returns:
            A future that fails as the provisioning does.
        """
        spec = self.config.channel(channel)
        name = name or f'{label or role}-{next(self._numbers)}'
        call = call or secrets.token_hex(8)
        if role == 'writer':
            group = ''
        elif group is None:
            group = name if spec.pattern.is_broadcast else 'default'
        self._check_start(spec, start)
        ticket: Future[Ticket] = Future()
        route = self.route(channel)
        route.add_done_callback(
            lambda done: self._issue(ticket, done, (role, name, call, group, start))
        )
        return ticket

    def _check_start(self, spec: ChannelSpec, start: str | None) -> None:
        if start is not None and not spec.replay:
            msg = f'channel {spec.name!r}: start= needs replay = true in [channels.{spec.name}]'
            raise ConfigError(msg)

    def _issue(self, ticket: Future[Ticket], done: Future[Route], place: tuple[Any, ...]) -> None:
        role, name, call, group, start = place
        try:
            route = done.result()
            self._registry.declare(route.channel.name, role, name, call, group)
        except BaseException as error:  # noqa: BLE001 (it belongs to whoever waits)
            ticket.set_exception(error)
            return
        ticket.set_result(
            Ticket(route=route, role=role, name=name, call=call, group=group, start=start)
        )

    def fail(self, ticket: Ticket, reason: str) -> None:
        """The task that holds a ticket failed for good."""
        with self._lock:  # so that the registry does not close in between
            if self._closed:
                return
            self._registry.fail(ticket.route.channel.name, ticket.role, ticket.name, reason)

    def statistics(self, channel: str) -> ChannelStatistics:
        """What all ends of a channel did, as far as they reported (once a second, and at the end).

        Raises:
            UnknownChannel: It was not used in this session.
        """
        return self._registry.channel(channel).statistics

    def dead_letters(self, channel: str) -> list[DeadLetter]:
        """The channel's dead letters, oldest first.

        Raises:
            UnknownChannel: It was not used in this session.
        """
        state = self._registry.channel(channel)
        architecture = self._architectures.get(self.route(channel).result().architecture)
        batches = [decode_batch(head, body) for head, body in state.letters]
        batches += architecture.dead_letters(state.spec)
        return open_letters(batches, self.id, state)

    @property
    def routes(self) -> Mapping[str, Future[Route]]:
        """The routes that were asked for, by channel."""
        return self._routes

    def close(self) -> None:
        """Release every channel, stop what the session started, remove its keys; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with ExitStack() as last_first:  # each is done, even if one before it fails
            last_first.callback(self._remove_files)
            last_first.callback(self._registry.close)
            last_first.callback(close_idle, self._registry.public_key)
            last_first.callback(self._architectures.close)
            for name, route in self._routes.items():
                last_first.callback(self._release, name, route)
            last_first.callback(self._provisioner.shutdown, wait=True, cancel_futures=True)

    def _release(self, name: str, route: Future[Route]) -> None:
        if not route.cancelled() and route.exception() is None:
            architecture = self._architectures.get(route.result().architecture)
            architecture.release(self.config.channel(name))

    def _remove_files(self) -> None:
        for site in self._sites.values():
            if site.key_file and Path(site.key_file).parent == self.directory:
                Path(site.key_file).unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'Session(id={self.id!r}, channels={sorted(self.config.channels)})'
