"""Which processes a process has below it and where they listen, as Linux says."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTENING = "0A"


def listeners_below(process: int) -> dict[str, str]:
    """The addresses on which a process and those below it listen for TCP, each with the name of who does."""
    found = {}
    for each in [process, *processes_below(process)]:
        try:
            name = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            sockets = {os.readlink(file) for file in Path(f"/proc/{each}/fd").iterdir()}
            for table in ("tcp", "tcp6"):
                for line in Path(f"/proc/{each}/net/{table}").read_text().splitlines()[1:]:
                    _, local, _, state, *rest = line.split()
                    if state == _LISTENING and f"socket:[{rest[5]}]" in sockets:
                        host, port = local.split(":")
                        found[f"{_address(host)} port {int(port, 16)}"] = name
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def open_to_others(found: dict[str, str]) -> dict[str, str]:
    """Those that another machine can reach."""
    return {where: who for where, who in found.items() if not ip_address(where.split()[0]).is_loopback}


def processes_below(process: int) -> list[int]:
    """A process's children, their children, and so on."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found: list[int] = []
    above = {process}
    while above:
        above = {each for each, parent in parents.items() if parent in above}
        found += above
    return found


def _address(words: str) -> IPv4Address | IPv6Address:
    """An address as /proc/net writes it: words of 32 bits, each in the machine's own order (little-endian)."""
    raw = bytes.fromhex(words)
    address = ip_address(b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4)))
    return getattr(address, "ipv4_mapped", None) or address
