"""What the parts of a gateway share while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from sentq.gateway.client import GatewayClient
from sentq.gateway.closing import Closing
from sentq.gateway.settings import GatewaySettings
from sentq.webhooks.admission import WebhookAdmission

__all__ = ["GatewayServices", "Services", "services_of"]


@dataclass(frozen=True, slots=True)
class GatewayServices:
    """What a gateway has while it runs. Nothing of it is kept for later requests.

    Attributes:
        client: Sends jobs, and reads and writes Redis.
        settings: The settings of the gateway.
        closing: Whether it ends.
        webhooks: Accepts the URLs of callers.
    """

    client: GatewayClient
    settings: GatewaySettings
    closing: Closing
    webhooks: WebhookAdmission

    async def webhook(self, url: str | None, *, owner: str, outcomes: bool = False) -> Any:
        """Return the `then` of a job or a batch that asks for a webhook; None if it asks for none.

        Args:
            url: Where it is sent.
            owner: The id of the key that sends the job: its secret signs the webhook.
            outcomes: Whether the webhook has the outcomes of the job.

        Raises:
            WebhookRefused, WebhooksFull: As `WebhookAdmission.then_steps` does.
            ResultsUnavailable: Redis did not answer, or refused.
        """
        if url is None:
            return None
        steps = self.webhooks.then_steps(url, outcomes=outcomes, owner=owner)
        return await self.client.run(steps)


def services_of(request: Request) -> GatewayServices:
    """Return what the gateway has, in a request.

    Raises:
        RuntimeError: The lifespan of the application has not run.
    """
    try:
        services: GatewayServices = request.state.gateway
    except AttributeError:
        raise RuntimeError("start the gateway with a server that runs lifespans") from None
    return services


async def _services(request: Request) -> GatewayServices:
    """Do what `services_of` does. FastAPI would call a function that is not `async` in a thread."""
    return services_of(request)


#: What the gateway has, as the parameter of an operation.
Services = Annotated[GatewayServices, Depends(_services)]
