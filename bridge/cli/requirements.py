"""Requirements of the command line: the packages of the extra `server`. `sms-bridge` alone is the client."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

#: The packages of the extra `server`, by the names they are imported by.
SERVER = (
    "alembic", "click", "httptools", "jwt", "phonenumbers", "prometheus_client", "pydantic", "requests", "rich",
    "sqlalchemy", "structlog", "tenacity", "urllib3",
)  # fmt: skip


def require_server() -> None:
    """Check that the server's packages are installed.

    Raises:
        SystemExit: a package is missing; the message names it and the extra. The exit code is 78 (configuration).

    """
    missing = [name for name in SERVER if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            "bridge: this environment has the client of SMS Bridge and lacks the server's packages: "
            f"{', '.join(missing)}. Install them with: pip install 'sms-bridge[server]'\n"
        )
        raise SystemExit(os.EX_CONFIG)
