"""Who may talk to the studio: only pages that it served itself, under names that are its own.

A browser lets any website send requests to 127.0.0.1, and a website whose name suddenly points there (DNS rebinding)
even reads the answers. Comes in: the host that the studio listens on. Goes out: the middlewares that refuse both.
"""

import ipaddress
import socket

import psutil
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_READING = ("GET", "HEAD", "OPTIONS")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def middlewares(host: str) -> list[Middleware]:
    """What stands before the studio's app when it listens on `host`, the outermost first."""
    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=own_names(host), www_redirect=False),
        Middleware(OriginGuard),
    ]


def own_names(host: str) -> list[str]:
    """The names and addresses under which a browser may ask for the studio; 0.0.0.0 stands for all of this machine."""
    names = {*_LOOPBACK, host.strip("[]"), host}
    if not is_loopback(host):
        machine = socket.gethostname()
        addresses = [entry.address for entries in psutil.net_if_addrs().values() for entry in entries]
        # "fe80::1%eth0": the zone is this machine's own business and never stands in a Host header.
        names |= {machine, f"{machine}.local", *(address.partition("%")[0] for address in addresses)}
        names |= {f"[{name}]" for name in names if ":" in name and not name.startswith("[")}
    return sorted(name for name in names if name and "*" not in name)


class OriginGuard:
    """Refuses what another website's page asks for, and forbids other websites to show the studio in a frame.

    Browsers put `Origin` on every request that a script sends elsewhere and on every form that is posted, and
    `Sec-Fetch-Site` on everything; programs such as curl send neither and are let through: they need no browser.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if is_foreign(scope.get("method", "GET"), Headers(scope=scope)):
            refusal = PlainTextResponse("This page was asked for by another website. Open it yourself.", 403)
            await refusal(scope, receive, send)
            return

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = "frame-ancestors 'self'"
            await send(message)

        await self._app(scope, receive, send_framed)


def is_foreign(method: str, headers: Headers) -> bool:
    """Whether a request was made by a page that is not the studio's own. A followed link is no such request."""
    origin = headers.get("origin")
    if origin is not None:
        return origin.partition("://")[2] != headers.get("host")
    site = headers.get("sec-fetch-site", "none")
    if site in ("none", "same-origin"):
        return False
    return method not in _READING or headers.get("sec-fetch-mode") != "navigate"
