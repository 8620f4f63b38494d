"""Where the processes of a training speak to each other: torch's TCPStore in the first of them."""

import os
import socket
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from kindling.core import system
from kindling.core.errors import UsageError

CONNECTING = timedelta(minutes=10)  # within which the first process has to be there
PORT = "kindling/port"  # the name of the port of this attempt in the store that torchrun's agent keeps


def reach_first(environment: Any, is_first: bool) -> tuple[Any, Any]:
    """The store in the first process, which makes it, and the one that torchrun's agent keeps, or None.

    Torch's process group will be formed with it.

    Args:
        environment: Lightning's, which knows address and port.
        is_first: whether this is the first process.

    Raises:
        UsageError: if the port is taken, or the first process is not there.
    """
    address, port = environment.main_address, environment.main_port
    try:
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True):
            return _store_of_attempt(address, port, is_first)
        return (server_at(address, port) if is_first else client_of(address, port)), None
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        if is_first:
            advice = "set MASTER_PORT to a free one"
            raise UsageError(f"can't open port {port} for the other processes ({reason}): {advice}") from error
        raise UsageError(f"the first process can't be reached at {address}:{port}: {reason}") from error


def server_at(address: str, port: int) -> Any:
    """A store in this process, which it later shares with its process group; port 0 means any free one."""
    from torch.distributed import TCPStore  # slow to import

    # Of two kinds of server that which torch itself takes here: on Windows it can come without the other.
    kind = os.environ.get("USE_LIBUV", "0" if system.WINDOWS else "1") == "1"
    options = {"wait_for_workers": False, "multi_tenant": True, "use_libuv": kind}
    return TCPStore(address, port, None, True, CONNECTING, **options)


def client_of(address: str, port: int) -> Any:
    """A connection to a store, which may be about to start."""
    from torch.distributed import TCPStore

    return TCPStore(address, port, None, False, CONNECTING, wait_for_workers=False)


def _store_of_attempt(address: str, port: int, is_first: bool) -> tuple[Any, Any]:
    """A store for this attempt only; its port is in the store that torchrun's agent keeps over all attempts.

    What killed processes left there, such as their addresses, misleads those after a restart (pytorch#135712).
    """
    agents = client_of(address, port)
    if is_first:
        store = server_at(address, 0)
        agents.set(PORT, str(store.port))
    else:
        until = time.monotonic() + CONNECTING.total_seconds()
        while not _answers(address, port := int(agents.get(PORT))):  # the port of an earlier attempt does not
            if time.monotonic() > until:
                raise RuntimeError("it has ended")
            time.sleep(0.1)
        store = client_of(address, port)
    os.environ.update(MASTER_PORT=str(store.port), TORCHELASTIC_USE_AGENT_STORE=str(False))
    return store, agents


def _answers(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=2):
        return True
    return False
