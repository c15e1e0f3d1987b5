"""Configuration of the documentation; built by ``nox -s docs``."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "trioslock"
copyright = "The trioslock authors"
version = release = version_of("trioslock")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_copybutton",
    "error_table",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "trioslock and triopoll"

# Sections that our docstrings have beside Google's own.
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# As fields of their class: as objects they would be described twice, since autodoc
# finds the same attributes in the class body.
napoleon_use_ivar = True
napoleon_custom_sections = ["Cancellation", "Source"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

myst_heading_anchors = 3

# A copied command has no prompt: of a block with prompts, only their lines are copied.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
