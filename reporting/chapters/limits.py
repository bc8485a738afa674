"""What this report does not show, and why its numbers may differ next time."""

from typing import Final

from reporting.drawing.style import listed
from reporting.evidence import Evidence
from reporting.page.document import Block, Paragraph
from reporting.statistics import IMAGES_ONLY
from search.data.classes import FASHION_MNIST

_OFFICIAL_IMAGES: Final = 60_000


def blocks(evidence: Evidence) -> list[Block]:
    """The limits, in sentences."""
    settings = evidence.settings
    over_seeds = (
        "One seed has no interval over seeds"
        if settings.seeds == 1
        else f"Intervals over {settings.seeds} seeds are wide and assume a normal spread"
    )
    texts = [
        "One data set, one split, one machine. Differences between networks hold for these test "
        "images; the bootstrap says how far they may hold for others like them.",
        f"{over_seeds}; McNemar's test looks at the models of the first seed only. A difference is "
        "called shown where the bootstrap interval and the corrected test agree, and both rows "
        "have two seeds or more. Where seeds vary more than images do, the bootstrap of a few "
        "seeds is too narrow still.",
        f"The winner was trained for {settings.epochs} epochs and tuned on this data; the "
        f"baselines, as published and not tuned, for {settings.baseline_epochs}. The comparison "
        "says what the search adds to them, not what the best tuning of each could reach.",
        "The official test images of Fashion-MNIST have been used by thousands of publications; "
        "networks and habits chosen after reading these are not independent of them.",
        "The search kept its best trials by one validation part of the training images. It is "
        "fixed, so several searches on it share its luck.",
        "Training is repeatable bit for bit only on the same processor type with the same versions "
        "and one thread; elsewhere results differ within the spread over seeds.",
    ]
    single = [name for name, found in evidence.differences.items() if found.seeds < 2]
    if single:
        texts.append(f"Differences to {listed(single)}: intervals {IMAGES_ONLY}.")
    images = len(evidence.split.train_labels) + len(evidence.split.val_labels)
    if images < _OFFICIAL_IMAGES:
        texts.append(
            f"The study has {images:,} of {_OFFICIAL_IMAGES:,} training images (--train-size, or "
            "smaller data). The baselines saw fewer images than in their publications too."
        )
    if evidence.record.facts.get("data") != FASHION_MNIST:
        texts.append(
            "The data is not the official Fashion-MNIST; classes are still called by its names."
        )
    if evidence.tuned is not None and evidence.tuned.accuracy.n < 5:
        texts.append(
            "Fewer than five seeds: more are added by the same command with a larger --seeds, "
            "which trains only the new ones."
        )
    return [Paragraph(text) for text in texts]
