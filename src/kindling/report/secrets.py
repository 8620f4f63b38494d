"""Keeps keys and passwords out of a run's page, which is sent around: a config or a command can hold some."""

import re
from typing import Any

HIDDEN = "(not shown)"
NAME = r"[\w.-]*(?:api[-_]?key|access[-_]?key|password|passwd|secret|token|credentials?)"
VALUE = r"""(?:'[^'\n]*'|"[^"\n]*"|[^\s,}\]]+)"""
HIDEABLE = r"(?! |(?:null|None|true|True|false|False)\b|\(not shown\))"  # comes before a value: these give nothing away
# Each hides what it finds after its first group.
IN_YAML = re.compile(  # the rest of the line, and the lines below it that have no key of their own
    rf"^(( *)(?:- )?['\"]?{NAME}['\"]?: ?){HIDEABLE}.*(?:\n(?! *(?:- )?[\w.'\"-]+:(?: |$))\2(?: |- ).*)*",
    re.IGNORECASE | re.MULTILINE,
)
QUOTED_FLAG = re.compile(rf"(['\"]--{NAME}=)[^'\"\n]*(?=['\"])", re.IGNORECASE)  # '--x.password=two words'
ANYWHERE = re.compile(  # → comes before what a resume has changed it to
    rf"((?<![\w.-])(?:{NAME}['\"]? *[:=] *|--{NAME} +)){HIDEABLE}{VALUE}(?: → {VALUE})?", re.IGNORECASE
)
IN_ADDRESS = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")  # https://user:password@host


def without_secrets(text: str) -> str:
    """A config, a command or a value as it is, but for what stands behind the name of a secret."""
    for pattern in (IN_YAML, QUOTED_FLAG, ANYWHERE, IN_ADDRESS):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def setting_without_secrets(value: Any, key: str) -> str:
    """The value of a setting, unless its key is the name of a secret or a part of it has one."""
    if re.fullmatch(NAME, key, re.IGNORECASE) and re.match(HIDEABLE, str(value)):
        return HIDDEN
    return without_secrets(str(value))
