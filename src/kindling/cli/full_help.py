"""`--help all`: every key that the parser has, with types in words and classes by their names."""

import re
import textwrap

from jsonargparse import DefaultHelpFormatter

from kindling.cli.help import terminal_width

UNBROKEN = 1_000_000  # columns: each text of the parser's is one line, which is broken here
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "Path": "a path",
    "timedelta": "a time",
    "Any": "anything",
    "dict": "keys with values",
}
ADDED = re.compile(  # what the parser adds to the text of an option
    r" ?\((required, )?type: (?P<type>.*?)(, default: (?P<default>.*?))?(, known subclasses: (?P<known>.*))?\)$"
)
LIGHTNINGS_MARKUP = {
    r":\w+:`~?(?:[\w.]+\.)?(\w+)`": r"`\1`",  # :class:`datetime.timedelta`
    r"``(.*?)``": r"`\1`",
    r"\s*Default: `[^`]*`\.?|\s*Disabled by default \(.*?\)\.": "",  # of Lightning, not of Kindling
}


class InWords(DefaultHelpFormatter):
    """The parser's help, put in words."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=UNBROKEN)

    def format_help(self) -> str:
        width = terminal_width()
        lines: list[str] = []
        for option in re.split(r"\n(?=\S|  -)", re.sub(r"\x1b\[[\d;]*m", "", super().format_help())):
            lines += _in_words(option.rstrip(), width)
        return "\n".join(lines) + "\n"


def _in_words(option: str, width: int) -> list[str]:
    """An option or the title of a group, in lines."""
    if not option.startswith("  -"):
        return ["", *textwrap.wrap(option, width)]
    flags, _, text = re.sub(r"\n\s+", "  ", option.strip()).partition("  ")
    flag = re.findall(r"--[\w.]+", flags)[0]
    text = text.strip()
    takes = ""
    if added := ADDED.search(text):
        text = text[: added.start()]
        default = f" ({value_in_words(added['default'])})" if added["default"] else ""
        known = f": {', '.join(_names(added['known']))}" if added["known"] else ""
        takes = f"{type_in_words(added['type'])}{default}{known}"
    for pattern, instead in LIGHTNINGS_MARKUP.items():
        text = re.sub(pattern, instead, text)
    indent = " " * 6
    first = textwrap.wrap(f"  {flag}  {takes}", width, subsequent_indent=indent, break_on_hyphens=False)
    rest = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return first + rest


def type_in_words(text: str) -> str:
    """A type as the parser writes it, such as `Optional[Literal['min', 'max']]`: one of min, max or null."""
    parts = _parts(text, "|")
    name, _, inner = text.partition("[")
    inside = _parts(inner.removesuffix("]"), ",") if inner else []
    if len(parts) > 1 or name == "Union":
        words = dict.fromkeys(map(type_in_words, parts if len(parts) > 1 else inside))
        return " or ".join(sorted(words, key=lambda word: (word == "null", word.startswith("a list"))))
    if name == "Optional":
        return f"{type_in_words(inside[0])} or null"
    if name == "Literal":
        return "one of " + ", ".join(dict.fromkeys(each.strip("'") for each in inside))
    if name in ("list", "tuple", "Iterable"):
        return f"a list, each {type_in_words(inside[0])}" if inside else "a list"
    if name == "Callable":
        return type_in_words(inside[-1])
    return WORDS.get(name, name)


def value_in_words(text: str) -> str:
    """A default as YAML has it; a class with its arguments as `AdamW(lr: 0.002)`."""
    text = re.sub(r"\{'class_path': '(?:\w+\.)*(\w+)'(?:, 'init_args': \{(.*?)\})?\}", r"\1(\2)", text)
    text = re.sub(r"'(\w+)'(?=:)", r"\1", text).replace("()", "")
    return {"True": "true", "False": "false", "None": "null"}.get(text, text)


def _names(paths: str) -> list[str]:
    return sorted({path.rpartition(".")[2] for path in paths.split(", ")}, key=str.lower)


def _parts(text: str, separator: str) -> list[str]:
    """The parts of a type between separators that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
