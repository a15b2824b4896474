"""The client of language-model servers: requests in, replies or reasons out."""
