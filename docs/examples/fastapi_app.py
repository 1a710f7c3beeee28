"""A web service that sends a code by SMS and answers with the outcome. Needs sms-bridge, fastapi and uvicorn.

uvicorn fastapi_app:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from bridge.client.aio import Client, InvalidCommand, NoOutcomeYet, NotSent, OutcomeError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f")
    async with Client(url) as app.state.sms:  # one client for the life of the process; all requests share it
        yield


app = FastAPI(lifespan=lifespan)


class Code(BaseModel):
    login: str
    to: str
    code: str


@app.post("/codes")
async def send_code(code: Code, request: Request) -> dict[str, Any]:
    sms: Client = request.app.state.sms
    try:
        result = await sms.send_and_wait(
            to=code.to,
            message=f"Your code is {code.code}",
            id=f"login-{code.login}",  # a client that repeats its request sends no second SMS
            wait=float(os.environ.get("WAIT", "10")),
        )
        result.raise_for_status()
    except InvalidCommand as error:
        raise HTTPException(422, list(error.reasons)) from error
    except NotSent as error:
        raise HTTPException(503, type(error).__name__) from error
    except OutcomeError as error:
        raise HTTPException(502, error.status) from error
    except NoOutcomeYet as error:
        return {"id": error.result.sent.id, "status": "pending"}  # the outcome follows as an event
    return {"id": result.sent.id, "status": result.status}
