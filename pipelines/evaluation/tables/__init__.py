"""From scores to the paper's tables: means, intervals, tests, files, the regression gate."""
