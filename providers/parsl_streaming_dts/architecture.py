"""The direct architecture."""

from __future__ import annotations

from parsl_streaming.seam import Batch
from parsl_streaming.seam import EndContext
from parsl_streaming.seam import Provision
from parsl_streaming.spec import ChannelSpec
from parsl_streaming.spec import Durability
from parsl_streaming.spec import Pattern
from parsl_streaming.spec import Site
from parsl_streaming_dts.contexts import close_kept
from parsl_streaming_dts.malloc import keep_large_buffers
from parsl_streaming_dts.reader import DirectReader
from parsl_streaming_dts.writer import DirectWriter


class DirectStreaming:
    """DTS: readers listen, writers connect; nothing stands between them."""

    name = 'dts'
    durabilities = frozenset({Durability.NONE})
    patterns = frozenset(Pattern)
    can_replay = False

    def refuse(self, channel: ChannelSpec, source: Site, target: Site) -> str | None:
        """The readers' site must accept connections from the writers' site."""
        del channel
        if source.network == target.network or target.inbound:
            return None
        return (
            f'site {target.name!r} accepts no connections from network {source.network!r}; set '
            f'inbound = true in [sites.{target.name}] if its firewall allows them'
        )

    def provision(self, channel: ChannelSpec, source: Site, target: Site) -> Provision:
        """Nothing to start: the ends find each other through the registry."""
        del channel, source, target
        return Provision()

    def release(self, channel: ChannelSpec) -> None:
        """Nothing to remove."""

    def dead_letters(self, channel: ChannelSpec) -> list[Batch]:
        """None here: the session's log keeps them."""
        del channel
        return []

    def open_writer(self, end: EndContext) -> DirectWriter:
        """See `Architecture.open_writer`."""
        keep_large_buffers()
        return DirectWriter(end)

    def open_reader(self, end: EndContext) -> DirectReader:
        """See `Architecture.open_reader`."""
        keep_large_buffers()
        return DirectReader(end)

    def close(self) -> None:
        """Free what this process's links left for later ones."""
        close_kept()
