"""What this report does not show, and why its numbers may differ next time."""

from typing import Final

from reporting.drawing.style import listed
from reporting.evidence import Evidence
from reporting.page.document import Block, Paragraph
from reporting.statistics import IMAGES_ONLY
from search.data.classes import FASHION_MNIST

_OFFICIAL_IMAGES: Final = 60_000


def blocks(evidence: Evidence) -> list[Block]:
    """The limits, one sentence or two each."""
    settings = evidence.settings
    over_seeds = (
        "One seed has no interval over seeds."
        if settings.seeds == 1
        else f"Intervals over {settings.seeds} seeds are wide and assume a normal distribution."
    )
    texts = [
        "One data set, one split, one machine. Differences between networks hold for these test "
        "images; the bootstrap estimates how far they hold for others like them.",
        f"{over_seeds} McNemar's test compares the models of the first seed only. A difference is "
        "called significant if the bootstrap interval and the corrected test agree and both rows "
        "have two seeds or more. If seeds vary more than images, the bootstrap interval of a few "
        "seeds is too narrow.",
        f"The winner was tuned on this data and trained for {settings.epochs} epochs; the "
        f"baselines were not tuned and trained for {settings.baseline_epochs}. The comparison "
        "shows what the search adds to the published networks, not how far each could be tuned.",
        "The test images of Fashion-MNIST have been used in thousands of publications; networks "
        "and habits learned from these are not independent of them.",
        "The search chose its best trials on one fixed validation split, so several searches on "
        "it share its luck.",
        "Training repeats bit for bit only on the same processor type, with the same versions and "
        "one thread. Elsewhere results differ about as much as they do between seeds.",
    ]
    single = [name for name, found in evidence.differences.items() if found.seeds < 2]
    if single:
        texts.append(f"Differences to {listed(single)}: intervals {IMAGES_ONLY}.")
    images = len(evidence.split.train_labels) + len(evidence.split.val_labels)
    if images < _OFFICIAL_IMAGES:
        texts.append(
            f"The study has {images:,} of {_OFFICIAL_IMAGES:,} training images (--train-size, or "
            "smaller data). The baselines too saw fewer images than in their publications."
        )
    if evidence.record.facts.get("data") != FASHION_MNIST:
        texts.append(
            "The data is not the official Fashion-MNIST, but its classes are called by the same "
            "names."
        )
    if evidence.tuned is not None and evidence.tuned.accuracy.n < 5:
        texts.append(
            "Fewer than five seeds: repeat the command with a larger --seeds to add more. Only "
            "the new ones are trained."
        )
    return [Paragraph(text) for text in texts]
