"""Stream data between Parsl apps: channels from instruments to HPC.

`load` opens a session, `streaming` gives channels to Parsl apps, `reader` and
`writer` open ends outside apps. Errors are in `parsl_streaming.errors`.
"""

from parsl_streaming.app import streaming
from parsl_streaming.current import load
from parsl_streaming.current import reader
from parsl_streaming.current import writer
from parsl_streaming.letters import DeadLetter
from parsl_streaming.message import Message
from parsl_streaming.reader import Reader
from parsl_streaming.replies import Reply
from parsl_streaming.session import Session
from parsl_streaming.task import attempt
from parsl_streaming.version import VERSION
from parsl_streaming.writer import Writer

__version__ = VERSION

__all__ = [
    'DeadLetter',
    'Message',
    'Reader',
    'Reply',
    'Session',
    'Writer',
    '__version__',
    'attempt',
    'load',
    'reader',
    'streaming',
    'writer',
]
