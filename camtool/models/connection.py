"""Whether a server can be reached: asked once, before a library tries again and again for minutes."""

import socket
import threading
import urllib.request
from urllib.parse import urlsplit

SECONDS = 2.0
"""How long the answer may take, the look-up of the name included."""

_PORTS = {"http": 80, "https": 443}


def unreachable(url: str, seconds: float = SECONDS) -> str:
    """Return why the server of a URL, or the proxy in front of it, takes no connection; "" if it takes one.

    Example:
        >>> from camtool.models.connection import unreachable
        >>> unreachable("http://127.0.0.1:9/weights.pth")
        'no connection to 127.0.0.1: Connection refused'
    """
    server = urlsplit(url)
    proxy = urllib.request.getproxies().get(server.scheme)
    if proxy and not urllib.request.proxy_bypass(server.hostname or ""):
        server = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    outcome: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((server.hostname, server.port or _PORTS.get(server.scheme, 80)), timeout=seconds).close()
            outcome.append("")
        except (OSError, ValueError) as error:
            outcome.append(str(getattr(error, "strerror", None) or error))

    # In a thread: looking up a name has no time limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    reason = outcome[0] if outcome else f"no answer within {seconds:g} seconds"
    return f"no connection to {server.hostname}: {reason}" if reason else ""
