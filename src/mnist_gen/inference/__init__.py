"""Trained models at work: in the package, sampling, your own pictures, export, a demo."""
