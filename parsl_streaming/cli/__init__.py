"""The command line: `parsl-streaming`."""

from parsl_streaming.cli.main import main

__all__ = ['main']
