"""Other methods that this program runs itself, to be measured beside the model. Without torch here and in `names`."""
