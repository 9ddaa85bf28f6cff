"""Options of a tiny scorer, also as the one that a translation trains first."""

SCORER = ["data.batch_size=8", "data.eval_batch_size=50", "trainer.max_epochs=2", "trainer.limit_train_batches=3"]
TARGET = f"target_scorer.overrides={SCORER}".replace(" ", "")
