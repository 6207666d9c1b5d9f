"""What adaptation's numbers say, in words, for the log."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Share of right answers up to which from chance a discriminator counts as "at chance".
AT_CHANCE = 0.05
#: Share of right answers from which on it tells the domains apart.
APART = 0.95
#: Cosine between two gradients from which on they agree, or with the other sign conflict.
AGREE = 0.1

_ACCURACY = re.compile(r"da/(?:(\w+)_)?acc_(source|target|domain\d+)")


def in_words(numbers: Mapping[str, float]) -> list[str]:
    """Statements of a few words each, such as "local discriminator 50 % right: at chance".

    Args:
        numbers: by their names in ``metrics.json``, means over the last iterations.
    """
    return [
        *_discriminators(numbers),
        *_agreement(numbers),
        *_lookahead(numbers),
        *_teacher(numbers),
    ]


def _discriminators(numbers: Mapping[str, float]) -> list[str]:
    right: dict[str, list[float]] = {}
    for key, value in numbers.items():
        if found := _ACCURACY.fullmatch(key):
            right.setdefault(found[1] or "domain", []).append(value)
    return [f"{name} discriminator {_judged(shares)}" for name, shares in right.items()]


def _judged(shares: list[float]) -> str:
    """How often it is right, as the mean over domains, and what that means."""
    share, chance = sum(shares) / len(shares), 1 / len(shares)
    text = f"{100 * share:.0f} % right"
    if len(shares) > 1 and max(shares) > 0.9 and min(shares) < 0.1:
        return f"{text}: at chance, always the same answer"
    if len(shares) > 1 and share < chance - AT_CHANCE:
        return f"{text}: below chance"
    if len(shares) > 1 and share <= chance + AT_CHANCE:
        return f"{text}: at chance"
    return f"{text}: it tells the domains apart" if share >= APART else text


def _agreement(numbers: Mapping[str, float]) -> list[str]:
    kinds = ("lookahead/cosine/", "projection/cosine/")
    cosines = [v for k, v in numbers.items() if k.startswith(kinds)]
    if not cosines:
        return []
    if not any(cosines):
        return ["task or alignment has no gradient in the backbone: a weight of 0?"]
    mean = sum(cosines) / len(cosines)
    verdict = "agree" if mean >= AGREE else "conflict" if mean <= -AGREE else "go their own ways"
    return [f"gradients of task and alignment {verdict} (cosine {mean:+.2f})"]


def _lookahead(numbers: Mapping[str, float]) -> list[str]:
    found = []
    for role, other in (("alignment", "task"), ("task", "alignment")):
        change = numbers.get(f"lookahead/relative_change/{role}")
        steps = [v for k, v in numbers.items() if k.startswith(f"lookahead/step_ratio/{role}/")]
        longest = max(steps, default=0.0)
        text = f"{role} looks ahead by {_percent(longest)} of the weights" if longest else ""
        if change is not None:
            changes = f"changes the gradient of the {other} by {_percent(change)}"
            text = f"{text}, which {changes}" if text else f"{role}'s look ahead {changes}"
        found += [text] if text else []
    return found


def _teacher(numbers: Mapping[str, float]) -> list[str]:
    taught = numbers.get("teacher/images_with_labels")
    labels = numbers.get("teacher/labels_per_image")
    if taught is None or labels is None:
        return []
    images = f"{100 * taught:.0f} % of the target images"
    text = f"teacher labels {images}, {labels:.1f} labels per image"
    least, greatest = (numbers.get(f"teacher/{x}_odds") for x in ("least", "greatest"))
    if least is None or greatest is None:
        return [text]
    return [f"{text}, class odds times {least:.2g} to {greatest:.2g}"]


def _percent(share: float) -> str:
    """Two digits, however small."""
    return f"{100 * share:.2g} %"
