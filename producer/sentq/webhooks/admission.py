"""Whether a job or a batch that asks for a webhook is accepted, and its `then`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sentq.connection.broker import BrokerKeys
from sentq.errors import WebhookRefused
from sentq.webhooks.callback import webhook
from sentq.webhooks.network.targets import TargetRules
from sentq.webhooks.store import admit_steps
from sentq.wire.steps import Steps

if TYPE_CHECKING:
    from sentq.webhooks.settings import WebhookSettings

__all__ = ["WebhookAdmission"]


class WebhookAdmission:
    """Accepts the URLs of callers, as the operator allows them.

    Args:
        settings: The hosts that may be called, and how many webhooks may wait. Without them, or a
            secret in them, no webhooks are accepted.
        is_delivered_elsewhere: Whether another process has the secret.
    """

    def __init__(
        self, settings: WebhookSettings | None, *, is_delivered_elsewhere: bool = False
    ) -> None:
        self._rules: TargetRules | None = None
        self._max_waiting = 0
        if settings is not None and (settings.is_enabled or is_delivered_elsewhere):
            self._rules = TargetRules(settings)
            self._max_waiting = settings.max_waiting

    def then_steps(self, url: str, *, outcomes: bool = False, owner: str = "") -> Steps[Any]:
        """Return the `then` of a job or a batch, in one round trip.

        Args:
            url, outcomes, owner: As for `webhook`.

        Raises:
            WebhookRefused: No webhooks are sent here; or the URL is malformed, not allowed, or its
                receiver wants no more.
            WebhooksFull: As many webhooks wait as may.
        """
        if self._rules is None:
            raise WebhookRefused(
                "no webhooks are sent here: the operator has set no webhooks.secrets"
            )
        self._rules.check(url)
        then = webhook(url, outcomes=outcomes, owner=owner)
        yield from admit_steps(BrokerKeys(), url, max_waiting=self._max_waiting)
        return then
