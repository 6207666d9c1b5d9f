"""The checks, a module per subject. A new module or function is found by itself."""
