"""Pure statistics of samples: quantiles with intervals, ratios, trends, dependence, steadiness."""
