"""Layers that Detectron2 and torchvision lack; import them from their modules."""
