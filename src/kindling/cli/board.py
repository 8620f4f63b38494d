"""`kindling board [FOLDER]`: TensorBoard on the runs, which opens on their curves until Ctrl-C ends it."""

# No torch here, nor in what this imports: the address is there sooner.

import argparse
import errno
import io
import logging
import mimetypes
import os
import shlex
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kindling.cli.arguments import parse_options
from kindling.core.errors import UsageError
from kindling.run.folder import ROOT

PORT, LAST_PORT, TRIED = 6006, 65535, 100
EVERYWHERE = ("0.0.0.0", "::")  # the hosts that stand for all of this computer's addresses
EVENTS = "events.out.tfevents.*"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("kindling board", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=ROOT, help=f"a run or runs ({ROOT})")
    parser.add_argument("--port", type=int, default=PORT, help=f"if it is taken, the next free one is used ({PORT})")
    parser.add_argument("--host", default="localhost", help="0.0.0.0 lets in the whole network (localhost)")
    options = parse_options(parser, argv)
    if not 0 <= options.port <= LAST_PORT:
        raise UsageError(f"--port is {options.port}: expected 0 to {LAST_PORT}")
    refuse_without_events(options.folder)
    address = start(options.folder, options.host, options.port)
    with suppress(KeyboardInterrupt):  # the way to end it
        print("\n".join(told(options.folder, options.host, options.port, address, os.environ)), flush=True)
        while True:
            time.sleep(3600)
    print()  # after the terminal's ^C


def refuse_without_events(folder: Path) -> None:
    try:
        has_events = any(folder.rglob(EVENTS))
    except OSError as error:  # such as a name that is too long
        raise UsageError(f"can't read {folder}: {error.strerror}") from error
    if not has_events:
        raise UsageError(
            f"there is no run to show in {folder}: expected TensorBoard's events, as fit writes in {ROOT}/"
        )


def start(folder: Path, host: str = "localhost", port: int = PORT) -> str:
    """Start TensorBoard in a thread of this process, and return its address.

    Args:
        folder: a run, or runs at any depth.
        host: the address to listen at.
        port: the first to try.

    Raises:
        UsageError: if this computer has no such host, none of the ports can be taken, or TensorBoard can't be imported.
    """
    try:  # here, since --help does without
        from tensorboard import default, program
        from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin

        from kindling.cli.board_look import HParams, with_pins
    except ImportError as error:  # those before 2.21 need pkg_resources, which setuptools has no more
        raise UsageError(f"TensorBoard can't start ({error}): pip install --upgrade tensorboard") from error

    hparams = HParams()
    plugins = [hparams if plugin is HParamsPlugin else plugin for plugin in default.get_plugins()]

    def server(app: Any, flags: Any) -> program.WerkzeugServer:
        for flags.port in range(port, min(port + TRIED, LAST_PORT + 1)):
            try:
                return program.WerkzeugServer(with_pins(app, hparams), flags)
            except program.TensorBoardPortInUseError:
                continue
            except SystemExit as end:  # werkzeug's, where TensorBoard expects an OSError
                if getattr(end.__context__, "errno", None) != errno.EADDRINUSE:
                    raise UsageError(f"can't listen at {host}, port {flags.port}: {end.__context__}") from end
        raise UsageError(f"no port from {port} to {flags.port} is free: --port takes another")

    for library in ("tensorboard", "werkzeug"):
        logging.getLogger(library).setLevel(logging.ERROR)
    for kind, ending in (("text/javascript", ".js"), ("font/woff2", ".woff2"), ("text/html", ".html")):
        mimetypes.add_type(kind, ending)  # of which Windows' registry can say otherwise
    board = program.TensorBoard(plugins, server_class=server)
    everywhere = host in EVERYWHERE
    board.configure(logdir=str(folder), host=None if everywhere else host, bind_all=everywhere)
    try:
        with redirect_stderr(io.StringIO()):  # news of its fast loading, at each start
            return str(board.launch())
    except program.TensorBoardServerException as error:
        raise UsageError(error.msg) from error
    except OSError as error:  # such as a host that no name server knows
        raise UsageError(f"can't listen at {host}: {error.strerror or error}") from error


def told(folder: Path, host: str, port: int, address: str, environment: Mapping[str, str]) -> list[str]:
    """What to say once it runs: where, and how to see it from another computer or in a notebook."""
    lines, taken = [], urlsplit(address).port
    if port not in (0, taken):
        lines.append(f"port {port} is taken, so it is {taken}")
    lines.append(f"{folder} is shown at {address}    (Ctrl-C ends it)")
    if host in EVERYWHERE:
        lines.append("whoever reaches this computer can see it")
    if environment.get("SSH_CONNECTION"):
        *_, server, ssh_port = environment["SSH_CONNECTION"].split()
        other_port = "" if ssh_port == "22" else f"-p {ssh_port} "
        listens = "localhost" if host in EVERYWHERE else host
        user = environment.get("USER", "USER")
        lines.append("on your own computer, to see it there:")
        lines.append(f"  ssh -N -L {taken}:{listens}:{taken} {other_port}{user}@{server}")
    if environment.get("JPY_PARENT_PID"):  # of a notebook's kernel
        lines.append("in a notebook, which this would block:")
        lines.append(f"  %load_ext tensorboard\n  %tensorboard --logdir {shlex.quote(str(folder))}")
    return lines
