"""Text for whatever terminal there is: every character can be printed, and a command can be typed as it is shown."""

import codecs
import io
import shlex
import sys
from contextlib import suppress

from kindling.core import system

# For where there is no such character: a file or a pipe on Windows knows some 250, an old console others.
PLAIN = {"→": "->", "←": "<-", "×": "x", "…": "...", "±": "+-", "–": "-", "·": ".", "²": "2", "│": "|", "✓": "ok"}


def print_anything() -> None:
    """Have stdout and stderr print what their encoding lacks in plain characters, rather than raise an error."""
    codecs.register_error("kindling.plain", _in_plain_characters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is none, and knows all characters
            with suppress(OSError):  # of one whose file was replaced by a pipe: it still expects to seek
                stream.reconfigure(errors="kindling.plain")


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """What takes the place of the characters that can't be encoded, and where to go on: see `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = [PLAIN.get(each) or each.encode("ascii", "backslashreplace").decode() for each in lacking]
    return "".join(plain), error.end


def typed(*words: object) -> str:
    """Words as they are typed in the system's shell, in quotes where they need some."""
    texts = [str(word) for word in words]
    if system.WINDOWS:  # whose quotes are double
        from subprocess import list2cmdline

        return list2cmdline(texts)
    return shlex.join(texts)
