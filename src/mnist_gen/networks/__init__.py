"""Networks, as plain `torch.nn` modules. They know nothing of training."""
