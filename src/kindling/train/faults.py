"""Faults during training that are not mistakes in code: too little memory, a full disk, a process that died."""

import errno
import re

WORKER = "a process that loads batches"
LESS = "try half of --data.batch_size with --trainer.accumulate_grad_batches 2"
CUT = f"{WORKER} found no room in shared memory, or a file that it was reading was cut short"
GONE = r"DataLoader worker.* exited|^(?:Connection\w+|BrokenPipe)Error: \[|^EOFError:?$|^FileNotFoundError: \[[^:]+$"
PEER = "^ProcessExited|Connection (?:closed|reset) by peer|/gloo/.*imed out|ncclRemoteError|got 0 bytes"
# What an error says → what to tell the user.
FAULTS = {
    "^UnreadableSample: (.+)": "{}",
    "signal: Killed": f"{WORKER} was killed, as the system does when memory runs out: try --data.workers 0 or "
    "a smaller --data.batch_size",
    rf"signal: Bus|exit code {errno.ENOSPC}\b|\(shm\)": f"{CUT}: try --data.workers 0, or a larger /dev/shm",
    r"DataLoader worker.* (signal: [A-Z][\w ]*\w|exit code \d+)": f"{WORKER} ended ({{}}): try --data.workers 0",
    GONE: f"{WORKER} ended, maybe for lack of memory: try --data.workers 0 or a smaller --data.batch_size",
    "Too many open files|items of ancdata": "too many files are open: try ulimit -n 4096 first, or --data.workers 0",
    "(?:CUDA|HIP|MPS|XPU) .*out of memory|_STATUS_ALLOC_FAILED": f"the GPU is out of memory: {LESS}, "
    "--trainer.precision bf16-mixed or a smaller model",
    "MemoryError|DefaultCPUAllocator|Cannot allocate memory": f"out of memory: {LESS}, --data.workers 0 or a smaller "
    "model",
    "inline_container|PytorchStreamWriter": "can't write a checkpoint: is its disk full, or read-only?",
    "cannot identify image file (.+)": "can't read {}: it is no longer an image; put the image back",
    "^OSError: ((?:image file is|broken data|unrecognized data|Truncated) .+)": "can't read an image: {}; put it back",
    r"No working C\+\+ compiler": "model.compile needs a C++ compiler: install g++, or set model.compile false",
    PEER: "another process of the training ended: see above, or it was killed",
}
WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


def explain_fault(error: BaseException) -> str | None:
    """What happened and what to try, in one sentence; None for an error in code, whose author needs the traceback."""
    said = _said(error)
    if "DataLoader worker" in said and error.__cause__:
        said += f" {error.__cause__}"  # names the signal
    for pattern, sentence in FAULTS.items():
        if found := re.search(pattern, said):
            wanted = re.search(r"allocate ([\d.]+ \w+)", said)
            sentence = sentence.replace(":", f" ({wanted[1]} were asked for):", 1) if wanted else sentence
            return sentence.format(*found.groups())
    if found := re.search(r"^\w+: \[Errno (\d+)\] ([^:]+)(?:: (?:.* -> )?['\"](.+)['\"])?$", said):
        number, reason, path = int(found[1]), found[2], found[3]
        if path or number in {*WRITING, errno.EIO}:
            return f"can't {'write' if number in WRITING else 'read or write'} {path or 'a file'}: {reason}"
    return None


def _said(error: BaseException) -> str:
    """An error's class and message; those of the original, if it comes from another process with its traceback."""
    text = f"{type(error).__name__}: {error}".rpartition("Traceback (most recent call last):\n")[2]
    found = re.search(r"^\S.*", text, re.MULTILINE | re.DOTALL)
    name, colon, words = (found[0] if found else text).strip().partition(":")
    return " ".join(f"{name.rpartition('.')[2]}{colon}{words}".split())
