"""Photo files and pictures as people see them: reading with profile and EXIF, restored PNGs, contact sheets."""
