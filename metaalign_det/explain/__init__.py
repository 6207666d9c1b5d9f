"""Look into trained models: where they attend, how their features lie, whether gradients agree.

Everything here reads run directories (``config.yaml`` and checkpoints) and needs no code of the
user's; ``metaalign-det explain`` is the door.
"""
