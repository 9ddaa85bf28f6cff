"""Options of a tiny transfer run."""

TINY_RUN = (
    "data.labels=20", "data.labels_seed=0", "data.batch_size=12", "data.folds=2", "data.watched=30",
    "data.eval_batch_size=50", "trainer.max_epochs=3", "model.views=2", "callbacks.metrics.reported=null",
    "pretrained=autoencoder",
    "pretrained.overrides=['trainer.max_epochs=1','trainer.limit_train_batches=2','data.batch_size=8']",
)  # fmt: skip
