"""Where a region of a data set is from: from its record back through the run that made it."""
