"""Trainings that are killed over and over, and must end as an undisturbed one does."""
