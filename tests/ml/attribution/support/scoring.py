"""Scores of answers that are all at hand."""

from ml.attribution.settlement import NetScores


def scored(aggregates, sketches, fees):
    """Return the scores of contributors over answers with these sketches and fees."""
    scores = NetScores(aggregates)
    scores.add(sketches, fees)
    return scores


def net_scores(aggregates, sketches, fees):
    """Return S_c and V_c of each contributor."""
    return scored(aggregates, sketches, fees).entries()
