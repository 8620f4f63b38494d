"""`kindling validate` and `kindling test`: measure a checkpoint on a split."""

from kindling.cli.arguments import Arguments
from kindling.cli.build import Parts
from kindling.cli.profiling import end_profiler
from kindling.cli.run_page import write_run_page
from kindling.cli.stages import SPLITS, has_stage, loggers_end, make_trainer, measure, told_in_a_sentence
from kindling.cli.summary import notes_of, summary_of
from kindling.cli.terminal import metric_notes, print_header, print_metrics
from kindling.core.errors import UsageError
from kindling.core.files import write_json
from kindling.run.checkpoint_content import fit_or_refuse
from kindling.run.checkpoint_files import load_checkpoint
from kindling.run.folder import find_checkpoint


def main(arguments: Arguments) -> None:
    run, command = arguments.run, arguments.command
    if arguments.asks_for_help:
        Parts(arguments)  # prints it, and exits
    ckpt = find_checkpoint(run, arguments.ckpt or "best")
    checkpoint = load_checkpoint(ckpt, shapes_only=True)  # the trainer loads the weights
    parts = Parts(arguments, checkpoint)
    if not has_stage(parts, command):
        name, split = type(parts.model).__name__, SPLITS[command]
        step = "validation_step" if split == "val" else "test_step"
        raise UsageError(f"{name} can't be measured: {command} needs a {step} and a {split}_dataloader")
    with told_in_a_sentence(parts, None):
        fit_or_refuse(ckpt, checkpoint, parts.model)
        debugs = parts.config_init["trainer"]["fast_dev_run"]
        trainer = make_trainer(parts, None if debugs else run, [])
        arguments.processes.join(trainer, None)
        if trainer.is_global_zero:
            print_header(parts, summary_of(parts, trainer), None if debugs else run, notes_of(parts))
        with loggers_end(trainer.loggers):
            metrics = measure(parts, trainer, command, ckpt)
        end_profiler(trainer)
        if not trainer.is_global_zero:
            return
        notes = metric_notes(parts.model)
        print_metrics(f"{command} of {ckpt}", metrics, notes)
        if run and not debugs:
            write_json(
                run / command / "results.json",
                {"checkpoint": str(ckpt), **metrics} | ({"notes": notes} if notes else {}),
            )
            write_run_page(parts, run)
