"""What this machine is, and how much of its memory a process takes."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # on which the speed of matrices depends
PACKAGES = ("torch", "lightning", "torchmetrics", "torchvision")


def describe() -> dict[str, Any]:
    import torch  # takes a second

    known = {}
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = known.get("flags", known.get("Features", "")).split()
    return {
        "cpu": known.get("model name", platform.processor() or platform.machine()),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def told(machine: dict[str, Any]) -> str:
    flags = ", ".join(machine["flags"]) or "none of " + ", ".join(FLAGS)
    packages = ", ".join(f"{name} {machine[name]}" for name in ("python", *PACKAGES))
    gpu = f"{machine['gpu']}; " if "gpu" in machine else ""
    return (
        f"{gpu}{machine['cpu']}, {machine['cores']} cores ({flags}), {machine['threads']} threads, "
        f"{machine['memory_gb']} GB; {packages}"
    )


def memory(field: str = "VmRSS") -> float:
    """Megabytes that this process takes now, or as VmHWM at its peak since `forget_peak`. Linux only.

    Not `ru_maxrss`: a new process inherits that of the process it comes from.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
