"""Writes a run's page, `report.html`, at the end of a command: never at the cost of what the command has done."""

from pathlib import Path
from typing import Any

from kindling.cli.build import Parts
from kindling.cli.stages import has_stage
from kindling.cli.terminal import next_commands
from kindling.core.errors import UsageError
from kindling.core.tables import print_plain


def write_run_page(parts: Parts, run: Path, results: dict[str, Any] | None = None) -> None:
    """Write it anew, with results that are yet to be written or those that are there; what goes wrong is told."""
    try:
        from kindling.report.page import write_page  # with jinja2, which only this needs

        write_page(run, next_commands(parts, run, has_stage(parts, "test")), results)
    except UsageError as error:
        print_plain(f"warning: {error}")
    except Exception as error:  # the run can be anyone's
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print_plain(f"warning: can't write {run / 'report.html'}, and goes on without: {reason[:300]}")
