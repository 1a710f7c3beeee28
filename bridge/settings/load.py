"""Loader of the settings: merges the file, the environment and credentials, and reports all mistakes at once.

The order of precedence for each key: `BRIDGE_<SECTION>__<KEY>`; the file named by `BRIDGE_<SECTION>__<KEY>_FILE`; the
systemd credential `<section>.<key>`; the configuration file; the default.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from pydantic import ValidationError

from bridge.settings.checks import FITTING_SHARE, disagreements
from bridge.settings.model import KEYS, SECRETS, Settings

PREFIX = "BRIDGE_"
#: The path of the configuration file; the only variable that is not a setting.
CONFIG_VARIABLE = "BRIDGE_CONFIG"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"

#: Returns the text of a file. Raises OSError, or UnicodeDecodeError if it is not UTF-8.
ReadFile: TypeAlias = Callable[[str], str]


class SettingProblem(NamedTuple):
    """One mistake. It never contains the value, which may be a secret."""

    #: `section.key`, or the name of the variable or file if there is no such key.
    path: str
    reason: str
    #: The file, variable or credential of the value; None for a default.
    origin: str | None = None


class SettingsError(Exception):
    """The configuration is not valid; `problems` has every mistake."""

    def __init__(self, problems: list[SettingProblem]) -> None:
        super().__init__("; ".join(f"{problem.path}: {problem.reason}" for problem in problems))
        self.problems = problems


class _Given(NamedTuple):
    value: object
    origin: str

    def __repr__(self) -> str:
        return f"_Given({self.origin})"


_Path: TypeAlias = tuple[str, str]


def load(
    toml: Mapping[str, object],
    environ: Mapping[str, str],
    read_file: ReadFile,
    *,
    file: str = "bridge.toml",
    credentials: Iterable[str] = (),
) -> Settings:
    """Return the settings from the parsed `toml` (of the file named `file`), the credentials and the environment.

    `credentials` are the names of the files in the credentials directory.

    Raises:
        SettingsError: with every mistake.

    """
    gathered = _Gathered(environ, read_file)
    gathered.from_toml(toml, file)
    gathered.from_credentials(credentials)
    gathered.from_environ()
    settings = _fit_call_into_lease(_validated(gathered), gathered.given)
    problems = gathered.problems
    at_fault = {problem.path for problem in problems}
    problems += [
        gathered.problem(found.path, found.reason)
        for found in disagreements(settings)
        if at_fault.isdisjoint((found.path, *found.with_))
    ]
    if problems:
        raise SettingsError(problems)
    return settings


def variable(section: str, key: str) -> str:
    """Return the name of the variable that sets a key."""
    return f"{PREFIX}{section}__{key}".upper()


_PATHS: list[_Path] = [(section, key) for section, keys in KEYS.items() for key in keys]
_VARIABLES = {variable(*path): path for path in _PATHS}
_FILE_VARIABLES = {f"{name}_FILE": path for name, path in _VARIABLES.items()}


class _Gathered:
    """The values collected from all sources, the last one for each key, and the mistakes found."""

    def __init__(self, environ: Mapping[str, str], read_file: ReadFile) -> None:
        self._environ = environ
        self._read_file = read_file
        self.given: dict[_Path, _Given] = {}
        self.problems: list[SettingProblem] = []

    def from_toml(self, toml: Mapping[str, object], file: str) -> None:
        for section, table in toml.items():
            if section not in KEYS:
                self.problems.append(SettingProblem(section, _unknown("section", section, KEYS), file))
            elif not isinstance(table, Mapping):
                self.problems.append(SettingProblem(section, "must be a table", file))
            else:
                self._from_table(section, table, file)

    def _from_table(self, section: str, table: Mapping[str, object], file: str) -> None:
        for key, value in table.items():
            if key in KEYS[section]:
                self.given[section, key] = _Given(value, file)
            else:
                self.problems.append(
                    SettingProblem(f"{section}.{key}", _unknown("key", key, KEYS[section]), file)
                )

    def from_credentials(self, names: Iterable[str]) -> None:
        # Files of other programs may be there, but a name close to a secret's is a typing mistake.
        for name in sorted(names):
            near = difflib.get_close_matches(name, SECRETS, n=1, cutoff=0.75)
            # Files of another process, or old ones: worker.broker.url, broker.url.old.
            is_named_after = any(name.startswith(secret) or name.endswith(f".{secret}") for secret in SECRETS)
            if near and not is_named_after and tuple(name.split(".", 1)) not in _PATHS:
                reason = f"unknown credential; did you mean {near[0]}?"
                self.problems.append(SettingProblem(name, reason, f"credential {name}"))
        directory = self._environ.get(CREDENTIALS_VARIABLE)
        if not directory:
            return
        for path in _PATHS:
            name = ".".join(path)
            with contextlib.suppress(FileNotFoundError):
                self._from_file(path, f"{directory}/{name}", f"credential {name}")

    def from_environ(self) -> None:
        for name, value in sorted(self._environ.items()):
            if name in _VARIABLES:
                self.given[_VARIABLES[name]] = _Given(value, name)
            elif name in _FILE_VARIABLES:
                self._from_file_variable(name, value)
            elif name.startswith(PREFIX) and name != CONFIG_VARIABLE:
                known = [*_VARIABLES, *_FILE_VARIABLES]
                self.problems.append(SettingProblem(name, _unknown("variable", name, known), "environment"))

    def _from_file_variable(self, name: str, file: str) -> None:
        path = _FILE_VARIABLES[name]
        if variable(*path) in self._environ:
            self.problems.append(
                SettingProblem(".".join(path), f"is set twice: also by {variable(*path)}", name)
            )
            return
        try:
            self._from_file(path, file, name)
        except FileNotFoundError as error:
            self.problems.append(
                SettingProblem(".".join(path), f"the file cannot be read: {error.strerror}", name)
            )

    def _from_file(self, path: _Path, file: str, origin: str) -> None:
        try:
            text = self._read_file(file)
        except FileNotFoundError:
            raise
        except OSError as error:
            self.problems.append(
                SettingProblem(".".join(path), f"the file cannot be read: {error.strerror}", origin)
            )
        except UnicodeDecodeError:
            # The error's text would show bytes of the file.
            self.problems.append(SettingProblem(".".join(path), "the file is not UTF-8", origin))
        else:
            if text.strip():
                # Remove the line end that editors and `echo` add to a secret.
                self.given[path] = _Given(text.rstrip("\r\n"), origin)
            else:
                # Probably a secret was not rendered; ignoring it could turn authentication off.
                self.problems.append(
                    SettingProblem(
                        ".".join(path),
                        "the file is empty: remove the variable or credential for none",
                        origin,
                    )
                )

    def problem(self, path: str, reason: str) -> SettingProblem:
        """Return the problem with the origin of the key's value."""
        section, _, key = path.partition(".")
        one = self.given.get((section, key))
        return SettingProblem(path, reason, one.origin if one else None)


def _validated(gathered: _Gathered) -> Settings:
    """Return the settings with defaults for invalid values, so that the other keys can be checked too."""
    given = gathered.given
    try:
        return Settings.model_validate(_nested(given))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
    for fault in faults:
        path = ".".join(map(str, fault["loc"][:2]))
        reason = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        gathered.problems.append(gathered.problem(path, reason))
    bad = {fault["loc"][:2] for fault in faults}
    return Settings.model_validate(_nested({path: one for path, one in given.items() if path not in bad}))


def _fit_call_into_lease(settings: Settings, given: Mapping[_Path, _Given]) -> Settings:
    """Limit a default total timeout to its share of the lease; a configured one is checked instead."""
    chosen = given.get(("cpaas", "total_timeout"))
    longest = FITTING_SHARE * settings.worker.lease
    if settings.cpaas.total_timeout <= longest or (
        chosen is not None and str(chosen.value) not in {"0", "0.0"}
    ):
        return settings
    return settings.model_copy(update={"cpaas": settings.cpaas.model_copy(update={"total_timeout": longest})})


def _nested(given: Mapping[_Path, _Given]) -> dict[str, dict[str, object]]:
    nested: dict[str, dict[str, object]] = {}
    for (section, key), one in given.items():
        nested.setdefault(section, {})[key] = one.value
    return nested


def _unknown(what: str, name: str, known: Mapping[str, object] | list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"unknown {what}" + (f"; did you mean {near[0]}?" if near else "")
