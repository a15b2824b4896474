"""Networks are loaded one at a time in this process.

While diffusers makes one, accelerate has every parameter that is made, in any thread, made without values: a network
that another thread loads meanwhile would have none.
"""

from __future__ import annotations

import threading

ONE_AT_A_TIME = threading.Lock()
