"""Builds this folder into a site: `make docs`, then open build/docs/index.html. A warning is an error.

It needs no network. What is generated from the code (every command, every setting, the API) is written into its page
while that page is read: see generated.py.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent / "src")]

import generated  # noqa: E402

from kindling import __version__  # noqa: E402

project, author, release = "Kindling", "the authors of Kindling", __version__
html_title = f"Kindling {release}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
nitpicky = True
# Classes of libraries are named as they are, without a link: links would need the network.
nitpick_ignore_regex = [("py:.*", r"(?!kindling\.|my_project\.).*"), ("py:.*", r".*\.(_\w+|Batch|Position)")]
suppress_warnings = ["config.cache"]

myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]

autodoc_inherit_docstrings = False  # a method of Lightning's is explained by Lightning
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # a default as it is written, not as Python prints it
autodoc_typehints = "none"  # they are in the signature's source, and the docstrings say what is meant
default_role = "code"  # `name` in a docstring

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": "Kindling"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "footer_start": [],
    "footer_end": [],
}
html_sidebars = {"index": []}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
pygments_style = "default"


def setup(app: object) -> None:
    generated.connect(app)
