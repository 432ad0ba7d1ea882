"""The key at every path: what vLLM's server loads (`--middleware`), since its own check leaves some paths open.

Loaded into vLLM's process, so it imports nothing but Python's own modules.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

KEY = "VLLM_API_KEY"
OPEN = frozenset({"/health", "/metrics", "/version", "/ping"})
"""What probes and Prometheus ask for; none of it reads a prompt or says anything of one."""
_UNAUTHORIZED = b'{"error": "Unauthorized"}'

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Gate:
    """Lets requests through that carry the key as `Authorization: Bearer`, and all to the open paths (pure ASGI)."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._key = _digest(os.environ[KEY].encode())  # without the variable the server does not start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or hand the request on."""
        if scope["type"] not in ("http", "websocket") or self._is_open(scope) or self._has_key(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: status 403
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _UNAUTHORIZED})

    def _is_open(self, scope: Scope) -> bool:
        """Whether anybody may ask; a browser's OPTIONS carries no key, and gets nothing but headers."""
        path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        return scope["type"] == "http" and (path in OPEN or scope["method"] == "OPTIONS")

    def _has_key(self, scope: Scope) -> bool:
        """Whether the key is there, compared in a time that does not tell how much of it is right."""
        said = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = bytes(said).partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(_digest(key), self._key)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
