"""What pruning went by: how early accuracies rank trials, and where the pruned ones stood."""

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, spearmanr

from reporting.study_tables import Record


def rank_correlations(record: Record) -> pd.DataFrame:
    """By epoch but the last: rank correlations with the final accuracy of complete trials, and n.

    A correlation is missing for fewer than three trials, or where all are equal.
    """
    complete = record.curves.loc[record.trials["state"] == "COMPLETE"]
    final = record.trials["value"].astype(float)
    rows = {}
    for epoch in [epoch for epoch in record.curves.columns if epoch < record.max_epochs]:
        values = complete[epoch].dropna()
        ends = final.loc[values.index]
        told = len(values) >= 3 and values.nunique() > 1 and ends.nunique() > 1
        rows[int(epoch)] = {
            "n": len(values),
            "spearman": float(spearmanr(values, ends).statistic) if told else np.nan,
            "kendall": float(kendalltau(values, ends).statistic) if told else np.nan,
        }
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["n", "spearman", "kendall"])
    return frame.rename_axis("epoch")


def stopped_trials(record: Record) -> pd.DataFrame:
    """Pruned trials: last epoch, accuracy there, and how it compares with all that got there.

    Those that another trial went on with were not stopped.
    """
    stopped = (record.trials["state"] == "PRUNED") & ~record.trials["continued"]
    pruned = record.curves.loc[stopped].dropna(how="all")
    last = pruned.notna().mul(pruned.columns.to_numpy()).max(axis="columns").astype(int)
    value = pruned.ffill(axis="columns").iloc[:, -1] if len(pruned.columns) else last.astype(float)
    medians, reached = record.curves.median(), record.curves.notna().sum()
    best = record.complete.index[0]
    return pd.DataFrame(
        {
            "epoch": last,
            "accuracy": value,
            "reached": last.map(reached),
            "upper": value > last.map(medians),
            "ahead": value > last.map(record.curves.loc[best]),
        },
        index=pruned.index,
    )
