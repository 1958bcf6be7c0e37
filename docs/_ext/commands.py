"""The directive `commands`: the help of commands, read from the program when the pages are built."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from mpsearch.cli.app import app


def root() -> Any:
    """The command `mpsearch` with all others in it."""
    return get_command(app)


def find(path: list[str]) -> Any:
    """The command of these words, such as `["study", "run"]`; None where there is none."""
    found = root()
    for word in path:
        found = getattr(found, "commands", {}).get(word)
        if found is None:
            return None
    return found


def leaves(command: Any | None = None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """All commands that do something, by their words; a group's own words aren't among them."""
    command = command or root()
    commands = getattr(command, "commands", None)
    if commands is None:
        return {path: command}
    return {words: leaf for name, each in commands.items() for words, leaf in leaves(each, (*path, name)).items()}


def context(command: Any, path: list[str]) -> Any:
    """What a command's help is made with."""
    return command.context_class(command, info_name=" ".join(["mpsearch", *path]))


def markdown(command: Any, path: list[str]) -> str:
    """A command's help as Markdown: usage, text, arguments and options, examples."""
    ctx = context(command, path)
    usage = " ".join(["mpsearch", *path, *(part.strip("{}") for part in command.collect_usage_pieces(ctx))])
    parts = [f"```text\n{usage}\n```", _escaped(_unindented(command.help or ""))]
    records = [(record, parameter) for parameter in command.params if (record := parameter.get_help_record(ctx))]
    parts += [f"`{_one_line(names)}`\n: {_escaped(_one_line(text)) or '–'}" for (names, text), _ in records]
    if command.epilog:
        lines = command.epilog.replace("\b", "").strip().splitlines()[1:]
        parts.append("```sh\n" + "\n".join(line.removeprefix("  ") for line in lines) + "\n```")
    return "\n\n".join(part for part in parts if part)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _unindented(text: str) -> str:
    return "\n\n".join(_one_line(paragraph) for paragraph in re.split(r"\n\s*\n", text.strip()))


def _escaped(text: str) -> str:
    """Text in which Markdown finds no markup but code between backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<>\[\]#|\\])", r"\\\1", part) for part in parts)


class Commands(SphinxDirective):
    """The help of one command, or of a group with all its commands, a section each."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Sections."""
        path = self.arguments[0].split()
        command = find(path)
        if command is None:
            raise self.error(f"there is no command `mpsearch {' '.join(path)}`")
        return [self._section(command, path)]

    def _section(self, command: Any, path: list[str]) -> nodes.section:
        name = " ".join(path)
        section = nodes.section(ids=[nodes.make_id(name)], names=[name])
        section += nodes.title(name, name)
        children = getattr(command, "commands", None)
        if children is None:
            section += self.parse_text_to_nodes(markdown(command, path))
        else:
            section += self.parse_text_to_nodes(_escaped(_unindented(command.help or "")))
            section += [self._section(child, [*path, word]) for word, child in children.items()]
        self.state.document.note_explicit_target(section)
        return section


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive known."""
    app.add_directive("commands", Commands)
    return {"version": "1", "parallel_read_safe": True}
