"""Pure functions of a result document: pairs, scores, comparisons, verdicts, forecasts."""
