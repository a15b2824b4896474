"""The address and the interface that only this machine can reach. Knows nothing of Ray."""

from __future__ import annotations

import sys

LOOPBACK = "127.0.0.1"
_INTERFACE = "lo0" if sys.platform == "darwin" else "lo"
# Read by torch's backends and by vLLM, which by themselves take the interface of the machine's own name.
INTERFACES = {"GLOO_SOCKET_IFNAME": _INTERFACE, "NCCL_SOCKET_IFNAME": _INTERFACE, "VLLM_HOST_IP": LOOPBACK}
