"""Questions that a judge refuses, or that a filter blocks, and what becomes of them."""

import re
from typing import Literal

from swarm.evals.judges.client import Reply

RefusalPolicy = Literal["stop", "skip", "lowest"]
BLOCKED = "blocked"  # the finish of a reply that a client knows to be refused where the server has no word of its own

# Words of servers for a reply that was kept back; what is not named here, such as a reply that was cut, is none.
_BLOCKED = {
    BLOCKED, "content_filter", "content-filter", "contentfilter", "content_filtered", "refusal", "safety", "blocklist",
    "prohibited_content", "recitation", "spii", "image_safety", "other", "block_reason_unspecified",
    "blocked_reason_unspecified", "model_armor", "guardrail_intervened", "responsible_ai_policy_violation",
}  # fmt: skip
_DECLINES = re.compile(
    r"\A\W*(?:(?:i['’]m|i am)\s+(?:very\s+|really\s+)?sorry|sorry|i\s+apologi[sz]e|unfortunately|as\s+an\s+ai\b"
    r"[^,.]{0,40})?"
    r"[\s,.:;—-]*(?:but\s+|however,?\s+)?"
    r"i\s*(?:['’]m|\s+am|['’]d|\s+would|\s+must|\s+have\s+to)?\s*"
    r"(?:can\s?not|can['’]?t|won['’]?t|will\s+not|do\s+not\s+feel\s+comfortable|don['’]t\s+feel\s+comfortable|"
    r"unable|not\s+able|not\s+comfortable|refuse|decline|rather\s+not|prefer\s+not)\b",
    re.IGNORECASE,
)


def is_refused(reply: Reply) -> bool:
    """Whether a reply in which no answer can be read is a refusal: kept back by a filter, or declined in words."""
    return reply.finish.casefold() in _BLOCKED or _DECLINES.match(reply.text) is not None
