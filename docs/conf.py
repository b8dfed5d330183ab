import metastore

project = "MetaStore"
author = "The MetaStore developers"
copyright = "2026, the MetaStore developers"
release = version = metastore.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
html_theme = "furo"
html_title = f"MetaStore {release}"
exclude_patterns = ["_build"]
# Docstrings are written in Markdown's single backticks: show them as code.
default_role = "code"
