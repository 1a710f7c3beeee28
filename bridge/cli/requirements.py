"""Whether this environment has the server's packages: `sms-bridge` alone is the client for other services."""

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
    """Return where the server can run.

    Raises:
        SystemExit: a package is missing; the message names it and the extra. The code is that of a wrong configuration.

    """
    missing = [name for name in SERVER if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            "bridge: this environment has the client of SMS Bridge and lacks the server's packages: "
            f"{', '.join(missing)}. Install them with: pip install 'sms-bridge[server]'\n"
        )
        raise SystemExit(os.EX_CONFIG)
