"""What people say of a data set's regions: the judgements, their log beside the data set, and the versions and the
stated accuracy that follow from them."""
