"""Options of a tiny translation."""

TINY_RUN = (
    "model.translator.channels=2", "model.translator.blocks=1", "model.discriminator.channels=2", "data.pairs=40",
    "data.epoch_pairs=40", "data.batch_size=8", "data.eval_batch_size=50", "trainer.limit_train_batches=2",
)  # fmt: skip
