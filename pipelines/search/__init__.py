"""`instructrestore index-vectors`, `search` and `trace`: what a data set shows, and where its regions are from."""
