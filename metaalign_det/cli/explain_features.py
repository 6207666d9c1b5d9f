"""x."""


def add_arguments(parser):
    pass


def run(args, progress):
    return 0
