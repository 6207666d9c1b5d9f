"""Whether a GPU computes what the CPU computes; see ``__main__``."""
