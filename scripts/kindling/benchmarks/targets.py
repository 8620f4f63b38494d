"""What is to be reached, and what has been."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from statistics import median

from benchmarks.report import Report, Unjudged, figure, markdown, paired

Value = Callable[[Report], float]


@dataclass
class Target:
    """A value of the report, and its bound: at least, or at most."""

    what: str
    value: Value
    bound: float
    at_most: bool = False

    def cells(self, report: Report) -> tuple[str, ...]:
        bound = f"{'at most' if self.at_most else 'at least'} {figure(self.bound)}"
        try:
            reached = self.value(report)
        except Unjudged as why:
            return self.what, str(why), bound, "not judged"
        except KeyError:
            return self.what, "not measured", bound, "not judged"
        met = reached <= self.bound if self.at_most else reached >= self.bound
        return self.what, figure(reached), bound, "met" if met else "not met"


def faster(part: str, case: str, name: str, than: str) -> Value:
    """How many times as fast one contestant is as another."""
    return lambda report: paired(report.samples(part, case, than), report.samples(part, case, name))


def single(part: str, case: str, row: str) -> Value:
    return lambda report: median(report.samples(part, case, row))


def share(part: str, case: str, row: str, of: str) -> Value:
    """How many times as large one row is as another."""
    return lambda report: paired(report.samples(part, case, row), report.samples(part, case, of))


def fit(what: str, case: str, than: str, bound: float) -> Target:
    return Target(f"fit ÷ {than}: {what}", faster("steps", case, "Kindling", than), bound)


def seconds_to_92(report: Report, case: str) -> tuple[float, bool]:
    """And whether it got there: if not, the time of all its epochs."""
    try:
        return median(report.samples("accuracy", case, "92%")), True
    except KeyError:
        return median(report.samples("accuracy", case, "92%, not reached")), False


def to_92(report: Report) -> float:
    """How many times as fast the recipe is; at least so many if the guide's loop did not get there."""
    (guide, _), (recipe, reached) = (seconds_to_92(report, case) for case in ("guide_resnet", "recipe"))
    return guide / recipe if reached else 0.0


def power(report: Report) -> float:
    """Of the length that Kindling's peak memory grows with: 1 is linear."""
    low, high = (median(report.samples("attention", "lengths", f"Kindling, length {n}, peak")) for n in (1024, 4096))
    return log(high / low, 4)


MEMORY = "Kindling", "DataLoader(TensorDataset)"
FOLDER = "Kindling, cached, 0 workers", "ImageFolder of torchvision, 0 workers"
PHOTOS = "Kindling", "ImageFolder of torchvision"
LISTING = "Kindling", "bare os.scandir walk"
LISTED = "Kindling, growth of memory"
ATTENTION = "Kindling, length 1024", "guide's, length 1024"
HELP = "kindling --help", "import lightning"
FIRST_STEP = "kindling fit, to the end of the first step", "import lightning"
SMALL = "MLP, 1,167 digits, 20 epochs"
STEPS = "memory at step 20,000", "memory at step 1,000"
PANDAS, SCIKIT = ("Kindling", "pandas"), ("Kindling", "pandas and scikit-learn")
PANDAS_MEMORY = "Kindling, memory", "pandas, memory"
PANDAS_PREDICT = "kindling predict", "pandas and a bare loop"
WITHIN = "best accuracy within 5 minutes"
TARGETS = [
    fit("MLP, batch 64", "mlp64", "careful loop", 0.9),
    fit("MLP, batch 256", "mlp256", "careful loop", 0.95),
    fit("small ResNet", "resnet", "careful loop", 0.98),
    fit("LSTM", "lstm", "careful loop", 0.98),
    fit("Transformer", "transformer", "careful loop", 0.98),
    fit("MLP, batch 64", "mlp64", "guide's loop, clipping", 1.3),
    fit("MLP, batch 64", "mlp64", "usual Lightning", 2.5),
    Target("fit ÷ image example", faster("image_example", "mlp", "Kindling", "usual Lightning"), 12),
    Target("batches in memory ÷ DataLoader(TensorDataset)", faster("loader", "memory", *MEMORY), 8),
    Target("cached image folder ÷ decoded every epoch", faster("loader", "folder", *FOLDER), 10),
    Target("photos read ÷ torchvision's ImageFolder, images a second", share("images", "photos", *PHOTOS), 3),
    Target("time to find 200,000 images ÷ a bare walk", share("images", "listing", *LISTING), 3, at_most=True),
    Target("memory for them, MB", single("images", "listing", LISTED), 200, at_most=True),
    Target("table of numbers ÷ pandas: time", share("tables", "numbers", *PANDAS), 2.5, at_most=True),
    Target("table of numbers ÷ pandas: memory", share("tables", "numbers", *PANDAS_MEMORY), 2.5, at_most=True),
    Target("table with categories ÷ scikit-learn: time", share("tables", "categories", *SCIKIT), 1, at_most=True),
    Target(
        "predict of a table ÷ pandas and a bare loop", share("tables", "predict", *PANDAS_PREDICT), 1.2, at_most=True
    ),
    Target("attention ÷ the guide's, length 1024", faster("attention", "lengths", *ATTENTION), 3),
    Target("its memory grows with the length to the power of", power, 1.1, at_most=True),
    Target("recipe ÷ the guide's loop and ResNet-18: to 92 %", to_92, 15),
    Target("validation accuracy within 5 minutes", single("accuracy", "recipe", WITHIN), 0.94),
    Target("time of kindling --help ÷ import lightning", share("startup", "commands", *HELP), 0.2, True),
    Target(
        "time of a process to its first step ÷ import lightning", share("startup", "commands", *FIRST_STEP), 1.15, True
    ),
    Target(
        "% of a training of 1,167 digits that goes into checkpoints", single("checkpoints", "share", SMALL), 10, True
    ),
    Target("memory at step 20,000 ÷ at step 1,000", share("growth", "steps", *STEPS), 1.02, at_most=True),
]


def judge(report: Report) -> str:
    """A table of all targets, which is kept in the report too."""
    rows = [target.cells(report) for target in TARGETS]
    report.content["targets"] = [dict(zip(("what", "reached", "target", "met"), row, strict=True)) for row in rows]
    report.save()
    return markdown(("what", "reached", "target", ""), rows)
