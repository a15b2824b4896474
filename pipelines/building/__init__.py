"""`instructrestore build`, and the commands that look at a data set: verify, stats, show, phrase."""
