"""The Parsl apps: what runs at the instrument, and what runs at the computing centre.

Each is an ordinary Parsl app with channels. The names `frames` and `sources`
are the channels of `streaming.toml`; the parameters of the same names are
their ends, which the decorator opens where the app runs and closes after it.
Callers pass the other arguments only.
"""

from __future__ import annotations

from parsl import python_app

from parsl_streaming import Reader
from parsl_streaming import Writer
from parsl_streaming import streaming


@streaming(writes='frames')
@python_app(executors=['instrument'])
def acquire(frames: Writer, path: str | None, tile: int) -> int:
    """Read images, cut them into tiles and stream these, as a camera would.

    Args:
        frames: The channel's writing end.
        path: The images; `None` for the included ones.
        tile: Side of a tile's core in pixels.

    Returns:
        How many tiles were sent.
    """
    from .tiles import tiles

    sent = 0
    for piece in tiles(path, tile):
        frames.send(piece.pixels, headers=piece.headers)  # a numpy array: sent without a copy
        sent += 1
    return sent


@streaming(reads='frames', writes='sources')
@python_app(executors=['hpc'])
def find_sources(frames: Reader, sources: Writer, threshold: float) -> int:
    """Find the sources of every tile that comes; any number of these run side by side.

    Args:
        frames: The channel's reading end; each tile goes to one of its readers.
        sources: The writing end of the channel of results.
        threshold: Least significance of a source, in standard deviations.

    Returns:
        How many tiles this task worked on.
    """
    from .sources import find
    from .tiles import Tile

    done = 0
    for frame in frames:  # acknowledged when the loop comes round again; ends with the stream
        piece = Tile(**frame.headers, pixels=frame.value)
        sources.send({'tile': piece.number, 'image': piece.image, 'found': find(piece, threshold)})
        done += 1
    return done
