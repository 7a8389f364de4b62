"""A channel's place in a broker: a user of its own, and in the end the removal of everything."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

from parsl_streaming_mss.access import Access
from parsl_streaming_mss.connect import FUNCTIONS_SINCE
from parsl_streaming_mss.connect import Endpoint
from parsl_streaming_mss.errors import checked
from parsl_streaming_mss.keys import Keys
from parsl_streaming_mss.program import parse_version
from parsl_streaming_mss.resp import Argument
from parsl_streaming_mss.resp import Connection
from parsl_streaming_mss.resp import ErrorReply
from parsl_streaming_mss.script import Scripts

_COMMANDS: Final = (
    'ping auth multi exec exists xadd xread xreadgroup xack xdel xtrim xclaim xpending xrange '
    'xrevrange xinfo xgroup|create xgroup|destroy xgroup|setid xgroup|createconsumer '
    'xgroup|delconsumer hset hget hdel hgetall hincrby sadd smembers rpush lpop'
)
_PAGE: Final = 500


def load_scripts(connection: Connection, version: str) -> Scripts:
    """Load the Lua library as a function, or as scripts where that is not to be had.

    Args:
        connection: A connection that may load scripts.
        version: The broker's version.

    Raises:
        NotAuthorised: Neither is allowed.
    """
    scripts = Scripts(functions=parse_version(version) >= FUNCTIONS_SINCE)
    replies = connection.ask(*scripts.load())
    if scripts.functions and isinstance(replies[0], ErrorReply) and replies[0].code == 'NOPERM':
        scripts = Scripts(functions=False)
        replies = connection.ask(*scripts.load())
    for reply in replies:
        checked(reply, 'loading the Lua library into the broker')
    return scripts


def make_user(connection: Connection, admin: Endpoint, access: Access) -> tuple[str, str]:
    """Make a user that reaches the keys of one channel and no others.

    A facility may give us a user that cannot make users; then that one serves.

    Returns:
        User name and password for the ends.
    """
    user, password = user_name(access.keys), secrets.token_urlsafe(24)
    digest = hashlib.sha256(password.encode()).hexdigest()
    pattern = re.sub(r'([\\*?\[\]])', r'\\\1', access.keys.prefix)
    calls = ['+fcall'] if access.scripts.functions else ['+evalsha', '+script|load']
    rules = ['reset', 'on', f'#{digest}', f'~{pattern}*', *calls]
    rules += [f'+{command}' for command in _COMMANDS.split()]
    reply, _ = connection.ask(['ACL', 'SETUSER', user, *rules], ['ACL', 'SAVE'])
    if isinstance(reply, ErrorReply) and reply.code == 'NOPERM':
        return admin.user, admin.password
    checked(reply, f'making the user {user} in the broker at {admin}')
    return user, password


def user_name(keys: Keys) -> str:
    """The name of a channel's user."""
    return 'ps-' + re.sub(r'[^\w.-]', '', keys.prefix[2:])


def remove(connection: Connection, keys: Keys) -> None:
    """Remove the channel's keys and its user."""
    doing = f'removing the keys {keys.prefix}* from the broker'
    members = connection.ask(['SMEMBERS', keys.streams], ['SMEMBERS', keys.extras])
    names: list[Argument] = [name for reply in members for name in checked(reply, doing)]  # type: ignore[attr-defined]
    names += keys.fixed
    for i in range(0, len(names), _PAGE):
        checked(connection.ask(['UNLINK', *names[i : i + _PAGE]])[0], doing)
    connection.ask(['ACL', 'DELUSER', user_name(keys)], ['ACL', 'SAVE'])
