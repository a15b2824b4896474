"""Secrets in addresses. What is made from an address says where it came from, and outlives whoever typed it.

A name or password before the host is refused: fsspec takes both from its configuration or the environment. A signature
in the query is part of what the address names, so it stays where the photo has to be read again, and is never shown.
"""

from __future__ import annotations

import re

MASK = "***"
_LINK = re.compile(r"""[A-Za-z][A-Za-z0-9+.-]{0,15}://[^\s"'<>]+""")
_USER = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]{0,15})://([^\s/?#"'<>]{1,500})@""")
# A name and a password that holds a slash or the like: what follows the colon is no port.
_UNESCAPED = re.compile(
    r"""([A-Za-z][A-Za-z0-9+.-]{0,15})://([^\s/?#"'<>:@[]{1,500}:(?!:|\d{0,5}[/?#])[^\s"'<>]{0,500})@"""
)
# There an @ before the first slash sets no name apart: github://owner:repository@commit.
_WITHOUT_USERS = ("file", "git", "github", "local", "memory")
_SECRET = re.compile(
    r"""([?&;\#](?:
        x-(?:amz|goog)-(?:signature|credential|security-token) | signature | sig | awsaccesskeyid | googleaccessid
        | (?:access_|auth_|id_)?token | (?:api_?|access_?)?key | auth | authorization
        | (?:client_)?secret | password | passwd | pwd
    )=)[^&;\#]+""",
    re.IGNORECASE | re.VERBOSE,
)


def check_address(text: str) -> None:
    """Raises ValueError where an address holds a name or password. text: a path or URI, chained ones too."""
    for found in (*_USER.finditer(text), *_UNESCAPED.finditer(text)):
        if _is_secret(found):
            protocol = found[1].lower()
            raise ValueError(
                f"an address with a name or password in it ({protocol}://{MASK}@...) would be written into all that is "
                f"made from it: leave them out, and give them in the environment variable FSSPEC_{protocol.upper()} or "
                "in ~/.config/fsspec (docs/cluster.md)"
            )


def masked(text: str) -> str:
    """The text with the names, passwords and signatures of all addresses in it replaced by ***."""
    return _LINK.sub(_masked_link, text)


def _masked_link(link: re.Match[str]) -> str:
    without = _USER.sub(_without_user, _UNESCAPED.sub(_without_user, link[0]))
    return _SECRET.sub(rf"\1{MASK}", without)


def has_secret(text: str) -> bool:
    """Whether `masked` would hide something."""
    return masked(text) != text


def _without_user(found: re.Match[str]) -> str:
    return f"{found[1]}://{MASK}@" if _is_secret(found) else found[0]


def _is_secret(found: re.Match[str]) -> bool:
    protocol = found[1].lower()
    return protocol not in _WITHOUT_USERS and (protocol in ("http", "https") or ":" in found[2])
