"""A shop with FastAPI, under uvicorn: `uvicorn shop:app`.

POST /orders/{order_id}/parcels/{name} with {"amount": "60.00", "currency": "EUR"} captures a parcel
that ships. It may be called as often as you like: the same parcel is captured once.

The address and the account come from the environment: see `takings.Client.from_env`.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import takings
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel


class Parcel(BaseModel):
    amount: str
    currency: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    # at its end it waits for the captures that are under way
    async with takings.AsyncClient.from_env() as klarna:
        app.state.klarna = klarna
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders/{order_id}/parcels/{name}")
async def ship(order_id: str, name: str, parcel: Parcel, request: Request) -> dict[str, str]:
    klarna: takings.AsyncClient = request.app.state.klarna
    try:
        capture = await klarna.capture(
            order_id,
            captured_amount=takings.minor(parcel.amount, parcel.currency),
            reference=name,
            idempotency_key=takings.idempotency_key(order_id, name),
        )
    except takings.InvalidInput as error:
        raise HTTPException(400, str(error)) from error
    except takings.TakingsError as error:
        # 503: not known, or not now; the same request again settles it
        raise HTTPException(503 if error.retryable else 409, str(error)) from error
    return {"capture_id": capture.capture_id}


@app.get("/health")
async def health() -> str:
    return "fine"
