"""The options of a report that take its numbers to others: a model card, the Hub, trackers."""

from __future__ import annotations

from distill_eval.errors import require
from distill_eval.record import record

TRACKERS = ("wandb", "mlflow", "trackio")


@record
class PublishConfig:
    """Where the report goes besides its folder; nothing leaves this machine unless one of these says so."""

    card: bool = False
    """Write a model card for every variant: cards/NAME/README.md and .eval_results/ beside it."""
    license: str | None = None
    """License of the students as the Hub names it, e.g. apache-2.0 (default: what the teacher's card says)."""
    push_to_hub: str | None = None
    """Upload a variant's folder with its card to this repository on the Hub, NAMESPACE/NAME; with --gate only if the
    verdict is PASS."""
    variant: str | None = None
    """Variant to upload, by its name in the table (default: the one that the report recommends)."""
    public: bool = False
    """Let everybody see the repository; without it a new one is private, and one that is public is refused."""
    wandb: bool = False
    """Log the report's numbers to Weights & Biases."""
    mlflow: bool = False
    """Log the report's numbers to MLflow."""
    trackio: bool = False
    """Log the report's numbers to Trackio."""

    def __post_init__(self) -> None:
        pushes = self.push_to_hub is not None
        require(self.license is None or self.card or pushes, "--license is for a card: add --card or --push-to-hub")
        require(self.variant is None or pushes, "--variant says what to upload: add --push-to-hub")
        require(not self.public or pushes, "--public is for an upload: add --push-to-hub")

    @property
    def trackers(self) -> tuple[str, ...]:
        """Those that are asked for."""
        return tuple(name for name in TRACKERS if getattr(self, name))
