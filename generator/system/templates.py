"""Render templates, of tritongen or of the user."""

import json
import traceback
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import jinja2
from google.protobuf.text_encoding import CEscape
from jinja2.sandbox import ImmutableSandboxedEnvironment

from generator.errors import TemplateUnusable, first_line


def render(name: str, template_dir: Path | None = None, **values: object) -> str:
    """Render a template; a template of the user replaces the one of tritongen.

    Raises:
        TemplateUnusable: the template has a syntax error, cannot be read, or fails.
    """
    try:
        return environment(template_dir).get_template(name).render(**values)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateUnusable(name, template_dir, f"line {error.lineno}: {error.message}") from error
    except (UnicodeDecodeError, OSError) as error:
        raise TemplateUnusable(name, template_dir, f"it cannot be read: {first_line(error)}") from error
    except Exception as error:  # an expression can raise anything
        line = line_of(error, name)
        raise TemplateUnusable(name, template_dir, f"{line}{first_line(error)}") from error


@lru_cache(maxsize=8)  # each template is compiled once, and again if its file changes
def environment(template_dir: Path | None) -> jinja2.Environment:
    """Make a sandboxed Jinja environment that fails on undefined names."""
    folders = [template_folder()] if template_dir is None else [template_dir, template_folder()]
    env = ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        # HTML is escaped; configs use the filters.
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters |= {"quote": quote, "numbers": numbers, "yaml": yaml_string}
    return env


def quote(text: str) -> str:
    """Format a string literal of protobuf text format."""
    return f'"{CEscape(text, as_utf8=True)}"'


def numbers(values: Iterable[int]) -> str:
    """Format a list of protobuf text format."""
    return f"[ {', '.join(map(str, values))} ]"


def yaml_string(text: str) -> str:
    """Format a YAML string for Compose, which reads `$$` as a dollar; YAML accepts the escapes of JSON."""
    return json.dumps(text).replace("$", "$$")


def template_folder() -> Path:
    """Return `templates/`, which is in the package in a wheel and beside it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "templates"
    return packaged if packaged.is_dir() else package.parent / "templates"


def line_of(error: BaseException, name: str) -> str:
    """Return `line 3: ` for the line of the template in the traceback, or an empty text."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename.endswith(name)]
    return f"line {lines[-1]}: " if lines else ""
