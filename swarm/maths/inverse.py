"""The inverse step: main-model logits whose relative distribution is near a target (arXiv 2404.12715).

Everything is worked out on candidate tokens. K = V candidates with nothing left out give the full algorithm.
"""

import math

import torch
from torch import Tensor

# torch.optim.AdamW's defaults, and a cosine schedule over 10 updates down to a quarter: what the published program uses
FIRST_DECAY, SECOND_DECAY = 0.9, 0.999
EPSILON = 1e-8
WEIGHT_DECAY = 0.01
PERIOD, FLOOR = 10, 0.25

# what one span of columns takes: it stays in a processor's cache between the two products that need it
SPAN_BYTES = 1 << 23
NARROWEST = 1024  # columns under which reading them row by row costs more than it saves


def schedule(update: int) -> float:
    """The learning rate's factor at update 0, 1, ...: 1, .9816, .9284, ..., .25 at update 10, and up again after."""
    return FLOOR + (1 - FLOOR) / 2 * (1 + math.cos(math.pi * update / PERIOD))


def total_decay(learning_rate: float, updates: int) -> float:
    """The factor by which weight decay alone scales the logits."""
    return math.prod(1 - WEIGHT_DECAY * learning_rate * schedule(update) for update in range(updates))


def flip_bound(learning_rate: float, updates: int) -> float:
    """The largest gap between two of the main model's logits, in nat, that `adamw` can close.

    About 9.09 times the learning rate for 5 updates and 13.82 times for 10, weight decay (`total_decay`) aside: two
    logits can each move by the sum of all rates times the largest quotient that Adam's two means can have.
    """
    if updates == 0:
        return 0.0
    ages = range(updates)
    first = [(1 - FIRST_DECAY) * FIRST_DECAY**age / (1 - FIRST_DECAY**updates) for age in ages]
    second = [(1 - SECOND_DECAY) * SECOND_DECAY**age / (1 - SECOND_DECAY**updates) for age in ages]
    quotient = math.sqrt(sum(a * a / b for a, b in zip(first, second, strict=True)))  # by Cauchy and Schwarz
    return 2 * quotient * learning_rate * sum(map(schedule, ages))


def freezing_point(width: int) -> float:
    """The probability at which a token whose share of d = `width` anchors is to double moves half as fast as others.

    Well below it `adamw` does not move tokens, unless they hold far less than the target wants.
    """
    return width * EPSILON


def adamw(
    logits: Tensor,
    rows: Tensor,
    target: Tensor,
    learning_rate: float,
    updates: int,
    log_rest: Tensor | None = None,
    frozen: Tensor | None = None,
    losses: list[Tensor] | None = None,
) -> Tensor:
    """Logits (B, K) after some AdamW updates of KL(target || r), r = softmax(logits) · rows; as the published program.

    `rows` are the candidates' relative representations, (B, K, d) or, the same for all, (K, d); `target` is (B, d).
    `log_rest` (B,) is the log of the sum of exp of the logits that are no candidates: these share the mean candidate's
    fate. Padding has the logit -inf. The loss is the mean over d, so that Adam's epsilon freezes improbable tokens
    (`freezing_point`): the factor 1 / d is part of the algorithm, and belongs to a row, however many rows there are.
    Candidates that are `frozen` (B, K) enter r but are not moved; one may stand for many improbable tokens. `losses`
    gets the `divergence` before every update and after the last.
    """
    logits, rest = logits.clone(), _rest(logits, log_rest)
    first, second = torch.zeros_like(logits), torch.zeros_like(logits)
    for update in range(updates):
        if losses is not None:
            losses.append(divergence(logits, rows, target))
        probabilities, ratios, mean = _ratios(logits, rest, rows, target)
        gradient = probabilities * (mean - ratios) / target.shape[-1]
        if frozen is not None:
            gradient = gradient.masked_fill_(frozen, 0.0)
        first = first.lerp_(gradient, 1 - FIRST_DECAY)
        second = second.mul_(SECOND_DECAY).addcmul_(gradient, gradient, value=1 - SECOND_DECAY)
        rate = learning_rate * schedule(update)
        kept = 1 - WEIGHT_DECAY * rate
        scale = (second / (1 - SECOND_DECAY ** (update + 1))).sqrt_().add_(EPSILON)
        logits = logits.mul_(kept).addcdiv_(first, scale, value=-rate / (1 - FIRST_DECAY ** (update + 1)))
        # decays with the logits, so that adding a constant to all of them still changes nothing
        rest = rest * kept
    if losses is not None:
        losses.append(divergence(logits, rows, target))
    return logits


def em(
    logits: Tensor,
    rows: Tensor,
    target: Tensor,
    updates: int,
    log_rest: Tensor | None = None,
    losses: list[Tensor] | None = None,
) -> Tensor:
    """Logits (B, K) after updates p_i ← p_i Σ_j W_ij t_j / r_j, each of which lowers KL(target || r); see `adamw`.

    Expectation maximisation for the weights of a mixture whose components are the rows: no learning rate, a fixed
    point when r = target, and the target itself after one update if the rows are the unit matrix.
    """
    logits, rest = logits.clone(), _rest(logits, log_rest)
    smallest = torch.finfo(logits.dtype).tiny
    for _ in range(updates):
        if losses is not None:
            losses.append(divergence(logits, rows, target))
        _, ratios, mean = _ratios(logits, rest, rows, target)
        logits = logits + ratios.clamp_min(smallest).log() - mean.clamp_min(smallest).log()
    if losses is not None:
        losses.append(divergence(logits, rows, target))
    return logits


def divergence(logits: Tensor, rows: Tensor, target: Tensor) -> Tensor:
    """KL(target || softmax(logits) · rows), shape (B,), in nat; shapes as in `adamw`."""
    mixture = mix(logits.softmax(-1), rows).clamp_min(torch.finfo(logits.dtype).tiny)
    return torch.xlogy(target, target / mixture).sum(-1)


def mix(probabilities: Tensor, rows: Tensor) -> Tensor:
    """The mixtures (B, d) of rows (B, K, d), or (K, d) for all, with weights (B, K)."""
    if rows.dim() == 2:
        return probabilities @ rows
    return torch.bmm(probabilities[:, None], rows)[:, 0]


def _rest(logits: Tensor, log_rest: Tensor | None) -> Tensor:
    if log_rest is None:
        return logits.new_full((len(logits), 1), -math.inf)
    return log_rest.to(logits)[:, None]


def _ratios(logits: Tensor, rest: Tensor, rows: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """p (B, K), s_i = Σ_j W_ij t_j / r_j (B, K), and the mean of s under p (B, 1).

    Tokens that are no candidates are taken to have the mean: it is 1 in the full algorithm.
    """
    everything = torch.logaddexp(logits.logsumexp(-1, keepdim=True), rest)
    probabilities = (logits - everything).exp_()
    if rows.dim() == 3 and len(rows) == 1:
        rows = rows[0]
    ratios = torch.zeros_like(probabilities)
    width = target.shape[-1]
    span = _span(rows, width)
    for start in range(0, width, span):
        columns = slice(start, min(start + span, width))
        ratios += _ratios_of_span(probabilities, rows[..., columns], target[:, columns])
    smallest = torch.finfo(ratios.dtype).tiny
    mean = (probabilities * ratios).sum(-1, keepdim=True) / probabilities.sum(-1, keepdim=True).clamp_min(smallest)
    return probabilities, ratios, mean


def _span(rows: Tensor, width: int) -> int:
    """Columns that are worked on at a time: all of them on a GPU, or where a useful part would fit in no cache."""
    span = SPAN_BYTES // (rows.element_size() * math.prod(rows.shape[:-1]))
    if rows.device.type != "cpu" or span < NARROWEST or span >= width:
        return width
    return -(-width // -(-width // span))


def _ratios_of_span(probabilities: Tensor, rows: Tensor, target: Tensor) -> Tensor:
    # r is 0 only where the target is as good as 0, or where it has run out of range
    smallest = torch.finfo(rows.dtype).tiny
    if rows.dim() == 3:
        mixture = torch.bmm(probabilities[:, None], rows).clamp_min_(smallest)
        return torch.bmm(rows, (target[:, None] / mixture).mT)[..., 0]
    threads = torch.get_num_threads()
    if len(probabilities) > 1 or rows.device.type != "cpu" or threads == 1 or rows.shape[1] < threads * NARROWEST:
        mixture = (probabilities @ rows).clamp_min_(smallest)
        return (target / mixture) @ rows.T
    # one share of the columns for each thread, in both products: what a core has read it need not fetch again
    even = rows.shape[1] // threads * threads
    parts = rows[:, :even].unflatten(1, (threads, -1)).transpose(0, 1)  # (threads, K, columns)
    mixture = torch.bmm(probabilities.expand(threads, 1, -1), parts).clamp_min_(smallest)
    ratios = torch.bmm(parts, (target[:, :even].view(threads, 1, -1) / mixture).mT).sum(0).mT
    if even < rows.shape[1]:
        ratios = ratios + _ratios_of_span(probabilities, rows[:, even:], target[:, even:])
    return ratios
