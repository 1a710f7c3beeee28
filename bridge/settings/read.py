"""Reader of the configuration file: the only part of the configuration that touches the disk."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.settings.load import CONFIG_VARIABLE, CREDENTIALS_VARIABLE, SettingProblem, SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.settings.model import Settings

#: The paths tried in this order if no file is named. Both may be missing.
PLACES = (Path("bridge.toml"), Path("/etc/sms-bridge/bridge.toml"))


def read(config: str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of the file `config`, else of `BRIDGE_CONFIG`, else of the first existing one of `PLACES`.

    Raises:
        SettingsError: with every mistake. A named file must exist.

    """
    environ = os.environ if environ is None else environ
    file = _find(config, environ)
    toml = {} if file is None else _parse(file)
    credentials = _names_in(environ.get(CREDENTIALS_VARIABLE))
    return load(toml, environ, _read_text, file=str(file), credentials=credentials)


def _names_in(directory: str | None) -> list[str]:
    """Return the names of the files in a directory; none if it cannot be listed, since each is read by name anyway.

    Raises:
        SettingsError: the directory does not exist, so that every secret would silently be missing.

    """
    try:
        return [path.name for path in Path(directory).iterdir()] if directory else []
    except (FileNotFoundError, NotADirectoryError):
        reason = "is not a directory: set it to the directory of the credentials, or unset it"
        raise SettingsError([SettingProblem(CREDENTIALS_VARIABLE, reason)]) from None
    except OSError:
        return []


def _find(config: str | None, environ: Mapping[str, str]) -> Path | None:
    named = config or environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    return next((place for place in PLACES if place.is_file()), None)


def _parse(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(_read_text(str(file)))
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except tomllib.TOMLDecodeError as error:
        reason = f"is not TOML: {error}"
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    raise SettingsError([SettingProblem(str(file), reason, str(file))])


def _read_text(name: str) -> str:
    return Path(name).read_text(encoding="utf-8")
