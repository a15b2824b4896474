"""The page of an evaluation: one HTML file with tables, charts and photos under a slider."""
