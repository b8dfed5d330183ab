from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import metastore

project = "MetaStore"
author = "The MetaStore developers"
copyright = "2026, the MetaStore developers"
release = version = metastore.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinxcontrib.openapi",
]
html_theme = "furo"
if tags.has("check"):  # type: ignore[name-defined]  # noqa: F821 - Sphinx gives it
    html_theme = "basic"  # furo parses each page again for its navigation, which takes a fifth of the time
else:
    extensions.append("sphinx.ext.viewcode")  # copies the code of all modules, which takes a quarter of the time
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True  # attributes of a class are listed in its docstring, and not a second time below it
html_title = f"MetaStore {release}"
#: The reference of the command line, which sphinx-click makes of `--help`, as metastore(1).
man_pages = [("reference/cli", "metastore", "keep Data Package descriptors in Git", [], 1)]
exclude_patterns = ["_build"]
smartquotes = False  # commands and code in plain docstrings are there to be copied
# Docstrings are written in Markdown's single backticks: show them as code.
default_role = "code"

nitpick_ignore_regex = [
    # The build uses no network, and so knows no other project's pages.
    ("py:.*", r"(collections|datetime|pathlib|types|typing|blinker|click)\..*"),
    ("py:.*", r"(Path|datetime|Mapping|Sequence|Iterator|Callable|Any|Literal|Self|Signal|TracebackType|optional)"),
    # Aliases for "a value, or what makes one", which the text explains.
    ("py:.*", r".*\b(AnyId|AnyAuthor|AnyDescriptor|AnyRevision|AnyTime|Validation|VersionRule|RevisionId)"),
    # How a host is talked to, and what only the library hands over, is nobody's interface.
    ("py:class", r"Host|Projects|Profiles|Part|Source|Index"),
    # The packages of other libraries, which the how-to on frictionless shows, and the type of what a list holds.
    ("py:class", r"metastore\.packages\..*|Item"),
]


def find_by_last_name(app: Sphinx, env: BuildEnvironment, node: Any, contnode: nodes.Element) -> nodes.reference | None:
    """Resolve what docstrings call by its plain name, as `RevisionConflict`, or by the module that defines it."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rsplit(".", 1)[-1]
    domain = env.domains.python_domain
    found = [full for full in domain.objects if full.rsplit(".", 1)[-1] == name and name[:1].isupper()]
    if len(found) != 1 or found[0] == node["reftarget"]:
        return None
    made = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found[0], node, contnode)
    assert made is None or isinstance(made, nodes.reference)
    return made


def fences_to_blocks(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn the Markdown fences of docstrings, which editors show well, into reStructuredText."""
    made, inside = [], False
    for line in lines:
        if line.startswith("```"):
            inside = not inside
            made += ["", f".. code-block:: {line[3:] or 'text'}", ""] if inside else [""]
        else:
            made.append(f"   {line}" if inside else line)
    lines[:] = made


def setup(app: Sphinx) -> None:
    """Connect the hooks."""
    app.connect("autodoc-process-docstring", fences_to_blocks)
    app.connect("missing-reference", find_by_last_name)
