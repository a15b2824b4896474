"""What people read of a data set: statistics, the report, the data set card, and photos with their regions drawn.

A finished data set enters; figures, HTML, Markdown and pictures leave.
"""
