"""Handlers of a shop: what the tests beside this file test."""

from datetime import timedelta
from pathlib import Path

from workerpool import Fail, Job, Retry, TaskResult, handler


class Carrier:
    """The service that is asked for labels."""

    busy = False

    def label(self, order: str, key: str) -> bytes:
        """Return the label of an order; the same key gives the same label."""
        if self.busy:
            raise ConnectionError("the carrier is busy")
        return f"{order} {key}".encode()


carrier = Carrier()


@handler("ship", max_attempts=3)
def ship(job: Job) -> TaskResult:
    """Get a label for an order, keep it, and have the customer told."""
    address = job.payload.get("address")
    if not address:
        raise Fail("the order has no address")
    try:
        label = carrier.label(job.item_key, key=f"ship-{job.id}")
    except ConnectionError as error:
        raise Retry(after=timedelta(minutes=1), reason=str(error)) from error
    made = Path(f"label-{job.id}.txt")
    made.write_bytes(label)
    kept = job.keep_artifact(made, "label.txt")
    made.unlink()
    job.then(f"mail/{address}", "tell", {"order": job.item_key, "text": "on its way"})
    return TaskResult(summary=f"shipped to {address}", artifacts=[kept])


@handler("tell")
async def tell(job: Job) -> dict[str, str]:
    """Tell a customer."""
    return {"summary": f"told about {job.payload['order']}"}
