"""No-reference quality of a photo: what the data engine writes into a record, and evaluation measures results by."""
