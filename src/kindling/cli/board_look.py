"""What TensorBoard shows first of runs: their curves, pinned to the top, and HParams with the columns that matter.

By itself TensorBoard sorts cards, settings and metrics by their names, whatever is written into the files.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from tensorboard.context import RequestContext
from tensorboard.data.provider import DataProvider, RunTagFilter
from tensorboard.plugins.base_plugin import TBContext, TBLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.api_pb2 import Experiment
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.hparams.metadata import (
    EXPERIMENT_TAG,
    SESSION_START_INFO_TAG,
    parse_session_start_info_plugin_data,
)

from kindling.run.event_tags import name_of, tag_of

SETTINGS = ("model", "data", r"(.+\.)?(lr|learning_rate)", r"(.+\.)?batch_size")  # the first columns
METRICS = ("best/val_loss", "best/.+", "test/.+", "val/.+", "train/.+")  # the next, after the main metric
LOSSES = ("train/loss", "val/loss")


class HParams(TBLoader):
    """Loads TensorBoard's own plugin, with its columns in another order, and keeps what it reads from."""

    provider: DataProvider

    def load(self, context: TBContext) -> HParamsPlugin:
        self.provider = context.data_provider
        plugin = HParamsPlugin(context)
        plugin._context = Columns(context)
        return plugin


class Columns(Context):
    """What the HParams tab knows of all runs; the tab shows the first five settings, and the first five metrics."""

    def scalars_metadata(self, ctx: RequestContext, experiment_id: str) -> dict[str, dict[str, bytes]]:
        """What there is of metrics, with those of older runs under today's tags: or each would be two columns."""
        return _with_tags_of_today(super().scalars_metadata(ctx, experiment_id))

    def read_last_scalars(self, ctx: RequestContext, experiment_id: str, run_tag_filter: RunTagFilter | None) -> Any:
        of_runs = RunTagFilter(run_tag_filter.runs) if run_tag_filter else None
        return _with_tags_of_today(super().read_last_scalars(ctx, experiment_id, of_runs))

    def experiment_from_metadata(  # type: ignore[no-untyped-def]
        self, ctx, experiment_id, include_metrics, tags_of_runs, *others, **more
    ) -> Experiment:
        """TensorBoard's columns, sorted; of two alike that comes first which more runs have.

        The columns that a run itself names are left out: they are those of this run alone.
        """
        of_sessions = {
            run: {tag: content for tag, content in tags.items() if tag != EXPERIMENT_TAG}
            for run, tags in tags_of_runs.items()
        }
        found = super().experiment_from_metadata(ctx, experiment_id, include_metrics, of_sessions, *others, **more)
        runs_with = Counter(name for tags in of_sessions.values() for name in _settings_in(tags))
        settings = sorted(
            found.hparam_infos,
            key=lambda info: (
                _place(info.name, SETTINGS),
                not info.differs,
                -runs_with[info.name],
                not info.name.startswith("model"),
            ),
        )
        for info in settings:
            info.differs |= _place(info.name, SETTINGS) < len(SETTINGS)  # the tab puts those first that differ

        runs_with = Counter(tag for tags in self.scalars_metadata(ctx, experiment_id).values() for tag in tags)
        main = main_metrics(self.tb_context.data_provider, experiment_id)[:1]
        order = (*(f"best/val_{re.escape(name)}" for name in main), *METRICS)
        metrics = sorted(
            found.metric_infos,
            key=lambda info: (
                bool(info.name.group),
                _place(name_of(info.name.tag), order),
                -runs_with[info.name.tag],
            ),
        )
        for info in metrics:
            if not info.name.group:
                info.display_name = name_of(info.name.tag)
        return Experiment(hparam_infos=settings, metric_infos=metrics)


def with_pins(app: Callable[..., Iterable[bytes]], hparams: HParams) -> Callable[..., Iterable[bytes]]:
    """An application that answers as another does, but for the bare address, which leads to the pinned curves."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/" or environ.get("QUERY_STRING"):
            return app(environ, start_response)
        tags = (*LOSSES, *(f"val/{name}" for name in main_metrics(hparams.provider)))
        cards = json.dumps([{"plugin": "scalars", "tag": tag} for tag in tags])
        address = f"?pinnedCards={quote(cards)}&smoothing=0"  # relative, for a proxy such as Jupyter's
        start_response("302 Found", [("Location", address), ("Content-Length", "0")])
        return []

    return answer


def main_metrics(provider: DataProvider, experiment_id: str = "") -> list[str]:
    """The main metric of each task of the runs, that of the most runs first.

    It is the one after the loss in the charts that Dashboard lays out.
    """
    of_runs = provider.read_tensors(
        RequestContext(), experiment_id=experiment_id, plugin_name="custom_scalars", downsample=1
    )
    tensors = [each for tags in of_runs.values() for of_tag in tags.values() for each in of_tag]
    categories = [each for tensor in tensors for each in layout_pb2.Layout.FromString(tensor.numpy.item()).category]
    counts = Counter(chart.title for category in categories for chart in category.chart[1:2])
    return [name for name, _ in counts.most_common()]


def _settings_in(tags: Mapping[str, bytes]) -> list[str]:
    """The names of the settings that a run has written down when it started."""
    content = tags.get(SESSION_START_INFO_TAG)
    return list(parse_session_start_info_plugin_data(content).hparams) if content else []


def _with_tags_of_today(of_runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {run: {tag_of(tag): value for tag, value in values.items()} for run, values in of_runs.items()}


def _place(name: str, patterns: tuple[str, ...]) -> int:
    """The number of the first pattern that a name is; after all others if it is none."""
    return next((number for number, pattern in enumerate(patterns) if re.fullmatch(pattern, name)), len(patterns))
