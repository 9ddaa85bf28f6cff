"""Networks as plain `torch.nn` modules, without training code."""
