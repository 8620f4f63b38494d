"""Python's own help, which every machine has, as text: `kindling fit --config configs/text.yaml`."""

from pathlib import Path
from typing import Any

from kindling.core.files import whole_file
from kindling.data import Text


class PythonDocs(Text):
    """The text of Python's `help("topics")`, half a MB of English with code, as windows of tokens: see Text.

    Another version of Python has another text.

    Args:
        path: file that the text is written to, unless it exists already.
        **text: length, tokens, vocabulary, cache, and what Data takes: see Text.
    """

    def __init__(self, path: str = "data/python_docs.txt", **text: Any) -> None:
        if not Path(path).exists():
            from pydoc_data.topics import topics

            with whole_file(Path(path)) as part:
                part.write_text("\n\n".join(topics[name] for name in sorted(topics)), encoding="utf-8")
        super().__init__(path, **text)
