"""What this report does not show, and why its numbers may differ next time."""

from typing import Final

from reporting.evidence import Evidence
from reporting.page.document import Block, Paragraph
from reporting.statistics import IMAGES_ONLY
from search.words import counted, listed

_COMPARING: Final = (
    "McNemar's test compares the models of the first seed only. A difference is called significant "
    "if the bootstrap interval and the corrected test agree and both rows have two seeds or more. "
    "If seeds vary more than images, the bootstrap interval of a few seeds is too narrow."
)
_OFTEN_USED: Final = (
    "Thousands of publications report results on the Fashion-MNIST test images, so common networks "
    "and practices are not independent of them."
)


def blocks(evidence: Evidence) -> list[Block]:
    """The limits, one sentence or two each."""
    # Some may have failed.
    seeds = evidence.settings.seeds if evidence.tuned is None else evidence.tuned.accuracy.n
    over_seeds = (
        "One seed has no interval over seeds."
        if seeds == 1
        else f"Intervals over {seeds} seeds are wide and assume a normal distribution."
    )
    machines = "several machines" if len(evidence.origins("machine")) > 1 else "one machine"
    holds = (
        "Differences between networks hold for these test images; the bootstrap estimates how far "
        "they hold for others like them."
        if evidence.has_baselines
        else "Accuracies hold for images like these."
    )
    texts = [
        f"One data set, one split, {machines}. {holds}",
        f"{over_seeds} {_COMPARING}" if evidence.has_baselines else over_seeds,
        *(_of_baselines(evidence) if evidence.has_baselines else ()),
        *((_OFTEN_USED,) if evidence.dataset.is_fashion_mnist else ()),
        "The search chose its best trials on one fixed validation split, so several searches on "
        "it share its luck.",
        "Training repeats bit for bit only on the same processor type, with the same versions and "
        "one thread. Elsewhere results differ about as much as they do between seeds.",
    ]
    single = [name for name, found in evidence.differences.items() if found.seeds < 2]
    if single:
        texts.append(f"Differences to {listed(single)}: intervals {IMAGES_ONLY}.")
    texts += [text for text in (_few_images(evidence), _few_searched(evidence)) if text is not None]
    if evidence.tuned is not None and evidence.tuned.accuracy.n < 5:
        texts.append(
            "Fewer than five seeds: repeat the command with a larger --seeds to add more. Only "
            "the new ones are trained."
        )
    return [Paragraph(text) for text in texts]


def _of_baselines(evidence: Evidence) -> list[str]:
    settings = evidence.settings
    texts = [
        "The winner was tuned on this data and trained for "
        f"{counted(settings.final_epochs, 'epoch')}; the baselines were not "
        f"tuned and trained for {settings.baseline_epochs:,}. The comparison "
        "shows what the search adds to the published networks, not how far each could be tuned."
    ]
    if not evidence.dataset.is_fashion_mnist:
        texts.append(
            "The baselines were published for another data set; there is no published accuracy for "
            "this one."
        )
    return texts


def _few_images(evidence: Evidence) -> str | None:
    """Say that the trainings have left images out; None if they have not."""
    images = len(evidence.split.train_labels) + len(evidence.split.val_labels)
    if images == evidence.images:
        return None
    baselines = (
        " The baselines too saw fewer images than in their publications."
        if evidence.has_baselines and evidence.dataset.is_fashion_mnist
        else ""
    )
    flag = "--quick" if evidence.settings.quick else "--train-size"
    return (
        f"The final trainings have {images:,} of {evidence.images:,} training and validation "
        f"images ({flag}).{baselines}"
    )


def _few_searched(evidence: Evidence) -> str | None:
    """Say that epochs of the search had fewer images than the retrainings; None if not."""
    train = len(evidence.split.train_labels)
    if evidence.searched_epoch_size >= train:
        return None
    return (
        f"An epoch of the search showed {evidence.searched_epoch_size:,} of {train:,} images. "
        "With all of them, another trial may be the best one; --top retrains more of them."
    )
