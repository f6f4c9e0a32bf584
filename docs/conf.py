"""Sphinx: the documentation as a static site, API pages from docstrings."""

import hae

project = "hae"
author = "The hae developers"
release = hae.__version__
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["attrs_inline", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # README links to files of the repository

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
default_role = "code"

html_theme = "furo"
html_title = "hae"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
templates_path: list[str] = []
