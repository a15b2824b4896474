"""`export` and `import`: a data set in another tool's layout, and back."""
