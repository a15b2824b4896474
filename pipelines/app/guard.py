"""What stands before every route: who asks, from where, and how much comes with it; and what a browser may do with
the answer.

A page of another site can make a browser send requests here, and a name of another site can be made to point to this
machine (DNS rebinding). So the Host must be one of ours, and what changes anything must come from our own Origin, or
with the token in a header, which no other site can set.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from instructrestore.pipelines.app.settings import LOOPBACK, AppSettings
from instructrestore.pipelines.app.visitors import Visitors

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
SAFE = ("GET", "HEAD")
OPEN = ("/api/v1/health",)  # without authorization
COOKIE_SECONDS = 365 * 24 * 3600
SMALL_BODY = 4 << 20  # bytes of a request that is not a file
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware. Puts the visitor's folder into `request.state.shelf`."""

    def __init__(self, app: Any, settings: AppSettings, visitors: Visitors) -> None:
        self._app, self._settings, self._visitors = app, settings, visitors
        named = {settings.host, *settings.names} | (
            set(LOOPBACK) if settings.host in (*LOOPBACK, "0.0.0.0", "::") else set()
        )
        self._hosts = {name.strip("[]").lower() for name in named}
        self.cookie = f"instructrestore-{settings.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope)
        refusal = self._refusal(request)
        if refusal is None:
            await self._app(scope, _bounded(receive, self._most(request)), guarded)
        else:
            await refusal(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        """What is answered in place of the route; None: go on."""
        path, headers = request.scope["path"], request.headers  # not of the URL, of which the Host is a part
        if _host_of(headers.get("host", "")) not in self._hosts:
            return fault(
                421, "this address is not one of the app's: open the one that it printed, or name it with --name"
            )
        bearer = headers.get("authorization", "")
        by_token = bearer[:7].lower() == "bearer " and self._visitors.knows(bearer[7:].strip())
        if bearer and not by_token:
            return fault(401, "the token is wrong: take the one in the address that the app printed")
        if not by_token and not self._from_here(request):
            return fault(403, "this was asked for by another site's page")
        if path == "/" and request.method == "GET" and "token" in request.query_params:
            return self._welcome(request)
        if (length := headers.get("content-length")) and (not length.isdigit() or int(length) > self._most(request)):
            return fault(413, f"a request has at most {self._most(request)} bytes")
        if path in OPEN:
            return None
        shelf = self._visitors.of_cookie(request.cookies.get(self.cookie, ""))
        if shelf is None and by_token:
            shelf = self._visitors.of_bearers()
        if shelf is None:
            return fault(401, "open the address with the token that the app printed, or send the token as a bearer")
        request.state.shelf = shelf
        return None

    def _from_here(self, request: Request) -> bool:
        """Whether a browser that sent this was on a page of ours, or on none (an address that was typed)."""
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if request.method in SAFE and request.scope["path"] == "/":
            return True
        if site not in (None, "same-origin", "none"):
            return False
        if origin is not None:
            return origin == f"{request.url.scheme}://{request.headers.get('host', '')}"
        return request.method in SAFE or site == "same-origin" or not request.cookies

    def _welcome(self, request: Request) -> Response:
        if not self._visitors.knows(request.query_params["token"]):
            return fault(401, "the token in this address is wrong: take the address that the app printed last")
        response = RedirectResponse(self._settings.home, 303)
        if self._visitors.of_cookie(request.cookies.get(self.cookie, "")) is None:
            response.set_cookie(
                self.cookie, self._visitors.welcome(), max_age=COOKIE_SECONDS, httponly=True, samesite="strict"
            )
        return response

    def _most(self, request: Request) -> int:
        path = request.scope["path"]
        is_file = path == "/api/v1/photos" or (path.startswith("/api/v1/photos/") and path.endswith("/masks"))
        return self._settings.limits.bytes if is_file else SMALL_BODY


def fault(status: int, sentence: str, **where: int) -> JSONResponse:
    """An error as every route gives it: one sentence."""
    return JSONResponse({"error": sentence, **where}, status)


class TooLarge(Exception):
    """More comes in than the request's head said, or than is allowed."""


def _bounded(receive: Receive, most: int) -> Receive:
    got = 0

    async def bounded() -> Any:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise TooLarge(most)
        return message

    return bounded


def _host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].rstrip(".").lower()
