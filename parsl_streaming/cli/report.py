"""The screen at the end of a run: each channel, how it travelled and why, and how fast."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

from parsl_streaming.session import Session
from parsl_streaming.statistics import ChannelStatistics

_HEADINGS: Final = (
    'channel',
    'messages',
    'msg/s',
    'MB/s',
    'p50',
    'p99',
    'redelivered',
    'duplicated',
    'lost',
)


def print_report(session: Session, console: Console | None = None) -> None:
    """Print what every channel of the session did.

    Args:
        session: The session; its tasks have ended.
        console: Where to print; standard output if `None`.
    """
    console = console or Console()
    for name, outcome in sorted(session.outcomes.items()):
        console.print(
            f'[bold]{name}[/] travels by [bold]{outcome.architecture.upper()}[/]: {outcome.why}',
            highlight=False,
        )
        for failed, reason in outcome.failures.items():
            console.print(f'  fell back: {failed} could not be opened: {reason}', style='yellow')
    console.print(_table({name: session.statistics(name) for name in sorted(session.outcomes)}))
    console.print('p50, p99: latency from send to reader, median and 99th percentile', style='dim')


def _table(channels: dict[str, ChannelStatistics]) -> Table:
    table = Table(box=None, pad_edge=False, header_style='bold')
    for heading in _HEADINGS:
        table.add_column(heading, justify='right' if table.columns else 'left', no_wrap=True)
    for name, statistics in channels.items():
        table.add_row(name, *_cells(statistics))
    return table


def _cells(channel: ChannelStatistics) -> list[str]:
    seconds = channel.seconds or 1e-9
    lost = max(0, channel.sent - channel.dropped - channel.messages)
    return [
        f'{channel.messages:,}',
        f'{channel.messages / seconds:,.0f}',
        f'{channel.nbytes / seconds / 1e6:,.1f}',
        _milliseconds(channel.latencies.quantile(0.5)),
        _milliseconds(channel.latencies.quantile(0.99)),
        f'{channel.redelivered:,}',
        f'{channel.duplicates:,}',
        f'{lost:,}',
    ]


def _milliseconds(seconds: float | None) -> str:
    return '-' if seconds is None else f'{seconds * 1e3:.3g} ms'
