"""InstructRestore: region-customized photo restoration by instruction."""

__version__ = "0.2.0"
