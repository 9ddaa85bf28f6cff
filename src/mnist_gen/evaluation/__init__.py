"""How good a model is, as functions of images and features."""
