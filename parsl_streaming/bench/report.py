"""A measurement as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import Final

_HEADINGS: Final = ('', 'msg/s', 'MB/s', '[min - max]', 'CPU s/GB', 'peak RSS MB', 'ratio')


def table(result: Mapping[str, Any]) -> str:
    """A measurement for a person.

    Args:
        result: What `compare` returned.
    """
    baselines: Mapping[str, Mapping[str, Any]] = result.get('baselines', {})
    rows = [_HEADINGS, _row(f'{result["architecture"]} ({_seal(result)})', result)]
    rows += [_row(name, figures) for name, figures in baselines.items()]
    lines = [_title(result), '', *_aligned(rows), '', _verdict(result)]
    for name, figures in ((result['architecture'], result), *baselines.items()):
        if figures['rtt_ms']:
            trips = ', '.join(f'{q} {value:.3g}' for q, value in figures['rtt_ms'].items())
            lines.append(f'round trips in ms, {name}: {trips}')
    if baselines:
        lines.append('ratio: ours to the baseline within one round, median [min - max]')
    return '\n'.join(lines)


def _seal(result: Mapping[str, Any]) -> str:
    return 'sealed' if result['sealed'] else 'unsealed'


def _title(result: Mapping[str, Any]) -> str:
    size = result['bytes'] / result['messages'] if result['messages'] else 0
    return (
        f'{result["workload"]}, {result["pattern"]}, producers: {result["producers"]}, '
        f'consumers: {result["consumers"]}; {result["messages"]:,} messages of {size:,.0f} bytes, '
        f'rounds: {result["repeats"]}, TCP {result["congestion_control"]}'
    )


def _row(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = figures['range']['mb_per_s']
    ratio = ''
    if 'ratio' in figures:
        least, most = figures['ratio_range']
        ratio = f'{figures["ratio"]:.2f} [{least:.2f} - {most:.2f}]'
    return (
        name,
        f'{figures["msgs_per_s"]:,.0f}',
        f'{figures["mb_per_s"]:,.0f}',
        f'[{low:,.0f} - {high:,.0f}]',
        f'{figures["cpu_s_per_gb"]:.2f}',
        f'{figures["peak_rss_mb"]:,.0f}',
        ratio,
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        '  '.join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _verdict(result: Mapping[str, Any]) -> str:
    names = ('lost', 'duplicated', 'corrupt', 'redelivered')
    counts = ', '.join(f'{name} {result[name]:,}' for name in names)
    return f'{counts}; sum over consumers {result["paper_msgs_per_s"]:,.0f} msg/s'
