"""Transformers whose weights are set, not trained, so that they compute a convolution or a dense layer exactly."""
