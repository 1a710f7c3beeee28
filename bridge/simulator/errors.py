"""Error replies of the provider: its error envelope (wire reference 8.1) and the codes it is used with here."""

from __future__ import annotations

from bridge.simulator.http import Reply, json_reply


class ApiError(Exception):
    """A refusal, with the reply that says so."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"refused with {reply.status}")
        self.reply = reply


def service_error(status: int, message_id: str, text: str, *variables: str) -> ApiError:
    """Return a service exception: the request itself is at fault, or the service."""
    return ApiError(json_reply(status, _envelope("serviceException", message_id, text, variables)))


def policy_error(status: int, message_id: str, text: str, *variables: str) -> ApiError:
    """Return a policy exception: the account may not do that."""
    return ApiError(json_reply(status, _envelope("policyException", message_id, text, variables)))


def invalid_input(part: str) -> ApiError:
    """Return SVC0002: `part` of the message can't be taken."""
    return service_error(400, "SVC0002", "Invalid input value for message part %1", part)


def not_found(part: str) -> ApiError:
    """Return the 404 for a resource that is not there (SVC2002)."""
    return service_error(404, "SVC2002", "Invalid input value for message part %1: not found", part)


def forbidden() -> ApiError:
    """Return the 403 for the resources of another account (POL0001)."""
    return policy_error(403, "POL0001", "A policy error occurred. Error code is %1", "Forbidden")


def invalid_token() -> ApiError:
    """Return the 401 for a token that is missing, unknown, expired or revoked (SVC2003)."""
    return service_error(401, "SVC2003", "Invalid access token")


def duplicate(attribute: str, part: str) -> ApiError:
    """Return the 409 for a correlator that was used before (SVC0005)."""
    return service_error(
        409, "SVC0005", "Attribute %1 specified in message part %2 is a duplicate", attribute, part
    )


def oauth_error(status: int, error: str, description: str) -> ApiError:
    """Return the token endpoint's own kind of refusal (RFC 6749 section 5.2)."""
    return ApiError(json_reply(status, {"error": error, "error_description": description}))


def control_error(message: str) -> ApiError:
    """Return the 400 of the simulator's own endpoints; `message` says what to write instead."""
    return ApiError(json_reply(400, {"message": message}))


def _envelope(kind: str, message_id: str, text: str, variables: tuple[str, ...]) -> dict[str, object]:
    error: dict[str, object] = {"messageId": message_id, "text": text}
    if variables:
        error["variables"] = list(variables)
    return {"requestError": {kind: error}}
