"""Compares `kindling predict` with a bare forward loop: `python scripts/benchmark_predict.py`.

50,000 images of 28×28 pixels from an `.npz`, 256 a batch. The bare loop loads the array and runs the network; `predict`
also reads the file bit by bit, decodes, and writes the CSV. Each runs in a process of its own, in turns; memory is what
a process takes at its peak beyond what it has after importing. Measured on 2 cores, median of three rounds:

  ResNet   bare 2,690 images/s, predict 2,835: ratio 1.05, 136 MB
  MLP      bare 159,455 images/s, predict 80,038: ratio 0.50, 22 MB (the rest is writing 12 columns a row)
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

IMAGES, ROUNDS = 50_000, 3
MODELS: dict[str, dict[str, Any]] = {"ResNet": {"width": 16, "depths": [1, 1, 1]}, "MLP": {}}


def prepare(folder: Path) -> None:
    """Write the images, and a checkpoint of each model as it is before a training."""
    import numpy as np
    import torch

    import kindling.models
    from kindling.preprocessing import Preprocessing

    np.savez(folder / "images.npz", x=np.random.default_rng(0).integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8))
    for name, arguments in MODELS.items():
        cls = next(cls for cls in kindling.models.base.Model.__subclasses__() if cls.__name__ == name)
        model = cls(input_shape=(1, 28, 28), classes=[str(i) for i in range(10)], **arguments)
        plain = Preprocessing((1, 28, 28), "uint8", mean=[0.29], std=[0.35]).plain
        content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "preprocessing": plain}
        torch.save(content, folder / f"{name}.ckpt")


def run(contestant: str, name: str, folder: Path) -> None:
    """Run one contestant in this process and print its seconds and megabytes."""
    import numpy as np
    import torch

    from kindling import predict, predictor, sources  # noqa: F401 (imported before the clock starts)

    before, start = peak(), time.perf_counter()
    if contestant == "predict":
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        files = ["--input", str(folder / "images.npz"), "--output", str(folder / "predictions.csv")]
        predict.main(["--ckpt", str(folder / f"{name}.ckpt"), *files])
        sys.stdout = sys.__stdout__
    else:
        model = predictor.load(folder / f"{name}.ckpt").model
        with np.load(folder / "images.npz") as file:
            images = torch.from_numpy(file["x"])
        with torch.inference_mode():
            for batch in images.split(256):
                model((batch[:, None].float() / 255 - 0.29) / 0.35).softmax(dim=1)
    print(json.dumps({"seconds": time.perf_counter() - start, "megabytes": peak() - before}))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes on Linux


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        print(f"{IMAGES:,} images, {os.cpu_count()} cores, median (least to most) of {ROUNDS} rounds")
        print("| model | bare loop, images/s | predict, images/s | ratio | memory of predict |")
        print("|---|---|---|---|---|")
        for model in MODELS:
            results: dict[str, list[dict[str, float]]] = {"bare": [], "predict": []}
            for _ in range(ROUNDS):
                for contestant, found in results.items():
                    command = [sys.executable, __file__, contestant, model, name]
                    found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            rates = {key: sorted(IMAGES / each["seconds"] for each in found) for key, found in results.items()}
            said = [f"{median(rate):,.0f} ({rate[0]:,.0f} to {rate[-1]:,.0f})" for rate in rates.values()]
            ratio = median(rates["predict"]) / median(rates["bare"])
            memory = max(each["megabytes"] for each in results["predict"])
            print(f"| {model} | {said[0]} | {said[1]} | {ratio:.2f} | {memory:,.0f} MB |", flush=True)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], Path(sys.argv[3])) if len(sys.argv) == 4 else main()
