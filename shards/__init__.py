"""The contract between the data engine and the model: records, masks, shards. Imports none of the other packages."""
