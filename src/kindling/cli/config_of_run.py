"""Reads a run's own config, which can come from anyone: it may name no foreign part, and only write into the run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kindling.cli.arguments import Arguments
from kindling.core.class_paths import IN_A_LIST, class_paths_in, current, foreign_parts, is_foreign, with_class_paths
from kindling.core.config_files import read_yaml
from kindling.core.errors import UsageError
from kindling.core.parts import class_path_of, short_name
from kindling.core.settings import Setting
from kindling.core.trusted_parts import is_trusted_of_run
from kindling.run.logger_recipes import missing_package

# Arguments of loggers, profilers, callbacks and strategies that say where to write.
FOLDERS = re.compile(r"[._](cache|dir|directory|dirpath|dirs|folder|path|root)$")
# Arguments that say which account with W&B, Comet or Lightning gets what is logged.
ACCOUNT = re.compile(r"^trainer\.logger\.(.+\.)?(api_key|entity|teamspace|workspace)$")
ADDRESS = re.compile(r"^[\w+.-]+:(/|\.|:)|://|::")  # an address on another machine, or another kind of file system
WRITTEN_BY_DATA = ("cache",)


class ConfigOfRun:
    """The config of the run that the arguments name.

    Args:
        arguments: their other settings are the user's own, and what those name is trusted.
    """

    def __init__(self, arguments: Arguments) -> None:
        assert arguments.run
        self.run, self.file = arguments.run, arguments.run / "config.yaml"
        self.typed = {key for _, key, _ in arguments.changes}
        self.command = arguments.command
        self.uses_no_logger = any(
            key == "trainer.logger" and value in (False, "false") for _, key, value in arguments.changes
        )
        self.typed_again = {(key, value) for _, key, value in arguments.again if isinstance(value, str)}
        self.typed_packages = {*_packages(arguments.changes), *_packages(arguments.again)}
        self.refused: list[str] = []  # paths that it names but must not
        self.moved: list[str] = []  # notes on settings that would write elsewhere

    def values(self) -> dict[str, Any]:
        """The values, with present class paths.

        Raises:
            UsageError: if a part is in no installed project and not named again, or something is sent elsewhere.
        """
        values = with_class_paths(read_yaml(self.file), current)
        if isinstance(trainer := values.get("trainer"), dict) and "logger" in trainer:
            trainer["logger"] = self._usable_loggers(trainer["logger"])
        without_flag = [("", path) for path in class_paths_in(values) if is_foreign(path)]
        for key, path in [*foreign_parts(values).items(), *without_flag]:
            if not self.is_typed(path):
                again = f"--{key} {path}" if key not in ("", IN_A_LIST) else "--config FILE that names it"
                raise UsageError(f"{self.run} needs {path}, which is in no installed project: name it again, {again}")
        for key, value in values.items():
            if key == "data":
                values[key] = self._of_data(value)
            elif key != "model":
                values[key] = self._inside(key, value)
        return values

    def _usable_loggers(self, logger: Any) -> Any:
        """The loggers that are used: others may send data elsewhere, or need a package that is not here."""
        if self.uses_no_logger:
            return False
        if self.command == "fit":
            return logger
        usable = []
        for each in logger if isinstance(logger, list) else [logger]:
            if package := missing_package(each):
                self.moved.append(
                    f"nothing is logged to {short_name(str(class_path_of(each)))}: {package} is not installed"
                )
            else:
                usable.append(each)
        return usable if isinstance(logger, list) else usable[0] if usable else None

    def is_typed(self, path: str) -> bool:
        """Whether a path is in a package that the user has named parts of."""
        return path.partition(".")[0] in self.typed_packages

    def may_name(self, path: str) -> bool:
        """Whether the parser may look up a path that the run or the user names."""
        if self.is_typed(path) or is_trusted_of_run(path):
            return True
        self.refused.append(path)
        return False

    def explained(self, sentence: str) -> str:
        """A sentence about a setting, with the reason added if a run may not name such a part."""
        if not any(repr(path) in sentence for path in self.refused):
            return sentence
        what = sentence.partition(": expected")[0]
        return f"{what}, which a run can't name, since it may be anyone's: name it again, with a flag or --config FILE"

    def _of_data(self, data: Any) -> Any:
        """The data's settings: what is read stays where it is; nothing is written outside the run, or downloaded."""
        arguments = data.get("init_args") if isinstance(data, dict) else None
        if not isinstance(arguments, dict):
            return data
        changed = {key: self._inside(f"data.{key}", arguments[key]) for key in WRITTEN_BY_DATA if arguments.get(key)}
        if arguments.get("download"):
            changed["download"] = False  # unless a flag says otherwise
        return {**data, "init_args": {**arguments, **changed}}

    def _inside(self, key: str, value: Any) -> Any:
        """Nested settings, with places outside the run that they would write to replaced by ones inside."""
        if isinstance(value, dict):
            names = {"init_args": key, "dict_kwargs": key}
            return {name: self._inside(names.get(name, f"{key}.{name}"), inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._inside(key, inner) for inner in value]
        if not isinstance(value, str) or key.endswith("class_path"):
            return value
        return self._place_inside(key, value)

    def _place_inside(self, key: str, value: str) -> str:
        is_address = bool(ADDRESS.search(value) or ACCOUNT.search(key))
        if (key, value) in self.typed_again:
            return value
        if is_address and key not in self.typed:
            again = "name it again, with a flag or --config FILE, if it is yours"
            said = "set" if key.endswith("api_key") else value  # a secret
            raise UsageError(f"{self.file}: {key} is {said}, outside the run: {again}")
        climbs = value.startswith(("/", "~")) or ".." in re.split(r"[/\\]", value)
        if not (is_address or climbs or FOLDERS.search(key)):
            return value
        place, run = Path(value).expanduser().resolve(), self.run.resolve()
        if run in (place, *place.parents):
            return value
        inside = self.run / (place.name or "logs")
        if key not in self.typed:
            self.moved.append(f"{key} is {value}, outside the run: it writes to {inside} instead")
        return str(inside)


def _packages(settings: list[Setting]) -> Iterator[str]:
    """The packages whose parts settings name."""
    for _, _, value in settings:
        path = str(class_path_of(value))
        if re.fullmatch(r"\w+(\.\w+)+", path) and not Path(path).exists():
            yield path.partition(".")[0]
