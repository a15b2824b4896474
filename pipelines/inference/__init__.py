"""What every command that restores shares: the model's source, sampling options, one photo at a time, batches."""
