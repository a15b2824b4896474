"""`instructrestore restore`: photo files or a data set, by an instruction."""
