"""The parsed command line: frozen groups of flags, looked up by their type."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from util.errors import UserError
from util.files import replacing

from .flag import distinct, flags_of, show

Group = TypeVar("Group")


class Options:
    """The options of one run: ``options[TrainFlags].lr``.

    Args:
        groups: one instance of each flag group.
        defaults: default of each flag.
        notes: sentences about the sources of values, for the user.
        typed: names of the typed flags.
        recorded: inherited flags as the training recorded them, typed or not.
        argv: the arguments of the command line.
    """

    def __init__(
        self, groups: Iterable[Any], defaults: Mapping[str, Any], notes: Iterable[str] = (), *,
        typed: Iterable[str] = (), recorded: Mapping[str, Any] | None = None, argv: Iterable[str] = (),
    ) -> None:
        self._groups: dict[type, Any] = {type(group): group for group in groups}
        self.defaults = dict(defaults)
        self.notes = tuple(notes)
        self.typed = frozenset(typed)
        self.recorded = dict(recorded or {})
        self.argv = tuple(argv)

    def __getitem__(self, group: type[Group]) -> Group:
        return cast(Group, self._groups[group])

    def __contains__(self, group: type) -> bool:
        return group in self._groups

    def replacing(self, values: Mapping[str, Any]) -> Options:
        """Return the same options with other values of some flags, by name as in `as_dict`.

        Raises:
            ValueError: a flag cannot have this value.
        """
        groups = [
            replace(group, **{f.name: f.convert(show(values[f.name])) for f in flags_of(kind) if f.name in values})
            for kind, group in self._groups.items()]
        return Options(groups, self.defaults, self.notes, typed=self.typed, recorded=self.recorded,
                       argv=self.argv)

    def as_dict(self) -> dict[str, Any]:
        """Return every flag with its value, in order of declaration."""
        return {name: value for group in self._groups.values() for name, value in asdict(group).items()}

    def changes_since(self, before: Mapping[str, Any]) -> dict[str, str]:
        """Describe each flag with another value ``before``: ``--norm is none, was instance``."""
        return {
            name: f"--{name} is {distinct(value)}, was {distinct(before[name])}"
            for name, value in self.as_dict().items() if name in before and distinct(before[name]) != distinct(value)
        }

    def changed(self) -> dict[str, tuple[str, str]]:
        """Return the flags that differ from their defaults: value and default, as they are typed."""
        values = self.as_dict()
        return {f.name: (f.shown(values[f.name]), f.shown(self.defaults[f.name]))
                for group in self._groups for f in flags_of(group) if values[f.name] != self.defaults[f.name]}

    def as_text(self, *, changed_only: bool = False) -> str:
        """Format a table of all flags, with defaults that differ, and the notes.

        Args:
            changed_only: count the flags that have their defaults instead of listing them; ``model`` and
                ``dataset_mode`` are always listed.
        """
        values = self.as_dict()
        changed = self.changed()
        shown = changed.keys() | {"model", "dataset_mode"} & values.keys() if changed_only else values.keys()
        lines = []
        for f in (f for group in self._groups for f in flags_of(group) if f.name in shown):
            note = f"\t[default: {changed[f.name][1]}]" if f.name in changed else ""
            lines.append(f"{f.name:>24}: {f.shown(values[f.name])}{note}")
        if changed_only:
            lines.append(f"{len(values) - len(shown)} others have their defaults (--verbose lists them)")
        return "\n".join(["Options".center(50, "-"), *lines, "-" * 50, *self.notes])

    def save(self, folder: Path, stem: str) -> None:
        """Write ``stem.txt`` for people and ``stem.json`` for programs.

        Raises:
            UserError: the folder or the files cannot be written.
        """
        texts = {"txt": self.as_text(), "json": json.dumps(self.as_dict(), indent=2)}
        try:
            for suffix, text in texts.items():
                with replacing(folder / f"{stem}.{suffix}") as temporary:
                    # A path may hold bytes that are no text; JSON escapes them.
                    temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UserError(f"the options cannot be written to {folder} ({error.strerror}); choose another "
                            "--checkpoints_dir, --results_dir or --name") from error
