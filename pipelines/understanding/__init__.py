"""Any wish: what the grammar of instructions refuses is read by a language model, where one is configured."""
