"""What `instructrestore doctor` looks at."""
