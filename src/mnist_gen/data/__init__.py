"""What a batch is: images, labels and pairs."""
