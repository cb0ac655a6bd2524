"""The best groups to draw codes in, for a number of steps and a known price of each (Hoogeboom et al. 2022)."""

from collections.abc import Sequence

import numpy as np

from vqjax.networks.priors.orders import Groups
from vqjax.system.errors import InputError


def best_groups(nats: Sequence[float] | np.ndarray, steps: int, num_known: int = 0) -> tuple[Groups, float]:
    """Return the sizes of the groups that cost least, and what they cost: the expected nats of the codes they draw.

    In a random order the codes that follow t known ones cost nats[t] each, as long as they are drawn together: codes
    s, …, t - 1 together cost (t - s) nats[s]. The cheapest S groups up to each number of codes are found from the
    cheapest S - 1 (arXiv 2110.02037). Of equally cheap ones the last group is the largest.

    Args:
      nats: mean nats of one more code after t = 0, …, L - 1 are known, (L,).
      steps: S, the number of groups; as many as there are unknown codes, if they are fewer.
      num_known: number of codes that are known before the first group.

    Raises:
      InputError: steps below 1 or above L.
    """
    length = len(nats)
    if not 1 <= steps <= length:
        raise InputError(f"steps={steps}: expected from 1 to {length}, the number of codes of an image")
    if steps >= length - num_known:  # a step for each code, the only way
        return (1,) * (length - num_known), float(np.sum(nats[num_known:]))
    numbers = np.arange(length + 1)
    sizes = numbers - numbers[:, None]  # of a group from the row's number of codes to the column's
    prices = np.append(np.asarray(nats, float), 0)
    group_costs = np.where(sizes > 0, sizes * prices[:, None], np.inf)
    cost = np.where(numbers == num_known, 0.0, np.inf)  # of the groups so far, by the number of codes at their end
    starts = []
    for _ in range(steps):
        totals = cost[:, None] + group_costs
        starts.append(totals.argmin(0))
        cost = totals.min(0)
    ends = [length]
    for start in reversed(starts):
        ends.append(int(start[ends[-1]]))
    return tuple(int(size) for size in -np.diff(ends)[::-1]), float(cost[length])
