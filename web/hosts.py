"""A check of the Host header against DNS rebinding."""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit


class HostCheck:
    """ASGI middleware that refuses requests whose Host header names another site.

    DNS rebinding makes a site's name resolve to this machine, so that its scripts may read what this server answers.
    The name in the header stays the site's. An IP address cannot be rebound.

    Args:
        app: the ASGI application.
        names: host names of this server, beside its IP addresses.
    """

    def __init__(self, app: Any, names: set[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or pass the request on."""
        from starlette.responses import PlainTextResponse  # noqa: PLC0415 - comes with gradio

        header = dict(scope.get("headers", ())).get(b"host", b"").decode("latin-1")
        if scope["type"] == "lifespan" or allowed(header, self.names):
            await self.app(scope, receive, send)
        else:
            refusal = PlainTextResponse(f"'{header}' is not this server's address; open the one that app.py "
                                        "printed, or start app.py with --host NAME", status_code=403)
            await refusal(scope, receive, send)


def own_names(host: str) -> set[str]:
    """Return the names under which a server that listens at ``host`` is reached."""
    return {host.lower(), "localhost", socket.gethostname().lower()}


def allowed(header: str, names: set[str]) -> bool:
    """Return whether a Host header is an IP address or one of the names, with any port."""
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host in names
    return True
