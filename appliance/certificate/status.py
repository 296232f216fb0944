"""What certificate knows about itself: the certificate served, what goes on, the last problem; its metrics."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.contracts.certificate import CertificateState, StepName
from appliance.core import metrics

attempts = metrics.Counter(
    "certificate_attempts_total",
    "Attempts at a certificate or a revocation by how they ended.",
    ["issued", "revoked", "refused", "unavailable"],
)
ends_at = metrics.gauge("certificate_not_after", "When the page's certificate ends (unix seconds); 0 without one.")


@dataclass
class Status:
    """Times in unix seconds; 0: none."""

    directory: str
    step: StepName = "none"
    not_before: int = 0
    not_after: int = 0
    next_attempt_at: int = 0
    last_problem: str = ""
    last_problem_at: int = 0
    replacing: bool = False
    revoking: bool = False
    account: str = ""
    #: Before this, nobody may ask the authority again.
    limited_until: int = 0

    def state(self, now: int) -> CertificateState:
        """Give it as the contract has it."""
        return CertificateState(
            state="none" if not self.not_after else "valid" if now < self.not_after else "expired",
            step=self.step,
            not_before=self.not_before,
            not_after=self.not_after,
            next_attempt_at=self.next_attempt_at,
            last_problem=self.last_problem,
            last_problem_at=self.last_problem_at,
            replacing=self.replacing,
            revoking=self.revoking,
            directory=self.directory,
            account=self.account,
        )
